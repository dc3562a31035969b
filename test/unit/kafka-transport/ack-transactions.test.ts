import { afterEach, describe, expect, it } from 'vitest'
import { systemClock } from '../../../src/core/clock.ts'
import { NO_HEADERS } from '../../../src/core/message.ts'
import { AckTransactions } from '../../../src/transports/kafka/consume/ack-transactions.ts'
import type { AckTransactionsHost } from '../../../src/transports/kafka/consume/ack-transactions.ts'
import { decodeRecord, emptyRecord } from '../../../src/transports/kafka/partitions/commit-record.ts'
import type { CommitRecord } from '../../../src/transports/kafka/partitions/commit-record.ts'
import { Commits } from '../../../src/transports/kafka/partitions/commits.ts'
import { Partition } from '../../../src/transports/kafka/partitions/partition.ts'
import type { PartitionDelivery } from '../../../src/transports/kafka/partitions/partition.ts'

const MESSAGE = { id: '1', topic: 't', key: 'k', body: Buffer.alloc(10), headers: NO_HEADERS }
const COPY = { ...MESSAGE, topic: 't.g.retry' }

/** A partition with its first message handed out, and a broker whose transactions end when the test says so. */
class World {
  readonly records: CommitRecord[] = []
  readonly partition = new Partition('t', 0)
  readonly delivery: PartitionDelivery
  readonly #ends = Promise.withResolvers<void>()
  readonly #isEnding = Promise.withResolvers<void>()
  readonly commits = new Commits({
    clock: systemClock,
    intervalMs: 0,
    owner: 'AAAAAAAA',
    commit: (offsets) => {
      for (const { metadata, offset } of offsets)
        this.records.push(decodeRecord(metadata as string, offset) as CommitRecord)
      return Promise.resolve(offsets.map(() => undefined))
    },
    stored: () => {},
    refused: () => {},
    tooLarge: () => {},
    cut: () => {},
  })
  readonly transactions = new AckTransactions(this.#host())

  constructor() {
    const { partition } = this
    partition.load({ ...emptyRecord(0), moved: 0 }, 'clean')
    partition.isChecked = true
    partition.reserved = 100
    partition.to = 1
    this.delivery = partition.deliveryOf({ message: MESSAGE } as never, 0, 1, {
      used: 0,
      history: 'new',
      running: false,
      notBefore: undefined,
      inOrder: false,
    } as never)
  }

  /** The offsets and messages are in the transaction, and its end is on its way. */
  get ending(): Promise<void> {
    return this.#isEnding.promise
  }

  commit(): void {
    this.#ends.resolve()
  }

  refuse(): void {
    this.#ends.reject(new Error('the transaction was aborted'))
  }

  /** Resolves with what the next owner reads. */
  async handedOver(): Promise<CommitRecord | undefined> {
    await this.commits.free([this.partition])
    return this.records.at(-1)
  }

  #host(): AckTransactionsHost {
    const producer = {
      close: () => Promise.resolve(),
      transaction: async (work: (transaction: unknown) => Promise<void>) => {
        await work({ sendMany: () => Promise.resolve([]), offsets: () => {} })
        this.#isEnding.resolve()
        await this.#ends.promise
      },
    }
    return {
      context: {
        host: { clock: systemClock },
        topics: { ensure: () => Promise.resolve() },
        options: { producer: {} },
        mapping: { encode: () => ({}) },
        client: { producer: () => producer },
      },
      commits: this.commits,
      transactionalId: 'g.busbar-A',
      hasGroup: true,
      consumer: () => ({}),
      inDoubt: () => {},
    } as never
  }
}

describe('a handover while a transaction ends', () => {
  let world: World

  afterEach(() => world.commits.close())

  function ack(): Promise<unknown> {
    world = new World()
    world.partition.outstanding.push(world.delivery)
    return world.transactions.ack([{ delivery: world.delivery, publish: [COPY as never] }])
  }

  it('leaves nothing of what was acknowledged to the next owner, though everything was given back', async () => {
    const result = ack()
    await world.ending
    world.partition.leaving = true
    world.partition.giveBack(Date.now())
    const handedOver = world.handedOver()
    world.commit()
    expect(await result).toEqual([undefined])
    expect(await handedOver).toMatchObject({ floor: 1, open: [] })
  })

  it('gives back what the transaction did not store', async () => {
    const result = ack()
    await world.ending
    world.partition.leaving = true
    world.partition.giveBack(Date.now())
    const handedOver = world.handedOver()
    world.refuse()
    expect(await result).toEqual([expect.any(Error)])
    expect(world.delivery.lost).toBe(true)
    expect(await handedOver).toMatchObject({ floor: 0 })
  })

  it('leaves nothing of what was moved into a retry topic to the next owner', async () => {
    world = new World()
    const { partition } = world
    const delayed = partition.putAside(world.delivery, Date.now() + 100_000, true)
    const result = world.transactions.move([{ partition, delayed, copy: COPY as never }])
    await world.ending
    partition.leaving = true
    const handedOver = world.handedOver()
    world.commit()
    expect(await result).toEqual([undefined])
    expect(await handedOver).toMatchObject({ floor: 1, open: [] })
  })
})
