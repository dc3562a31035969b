import assert from 'node:assert/strict'
import { describe, test } from 'vitest'
import { manualClock } from 'busbar/testing'
import { Incoming } from '../../../src/transports/nats/connection/incoming.ts'
import type { Session } from '../../../src/transports/nats/connection/session.ts'
import { Partition } from '../../../src/transports/nats/jetstream/partitions/partition.ts'
import type { PartitionReader } from '../../../src/transports/nats/jetstream/partitions/partition-reader.ts'
import { NOTHING_LEFT } from '../../../src/transports/nats/jetstream/partitions/partition-record.ts'
import { PartitionReaders } from '../../../src/transports/nats/jetstream/partitions/partition-readers.ts'
import type { JetStreamApi } from '../../../src/transports/nats/jetstream/server/jetstream-api.ts'

/** All promises that are about to settle have. */
function settled(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve)
  })
}

/** The readers of two partitions, and a server that makes consumers. */
class Bench {
  readonly clock = manualClock()
  readonly partitions = ['0', '1'].map((name) => new Partition(name, 's', []))
  readonly readers: PartitionReaders
  readonly changed: string[] = []
  readonly made: string[] = []
  readonly listening = new Set<string>()
  wakes = 0
  receive: (message: Incoming) => void = () => undefined
  failures = 0
  epoch = 0
  isConnected = true
  #inboxes = 0

  constructor() {
    // oxlint-disable-next-line typescript/no-this-alias -- for the getters
    const bench = this
    const session = {
      get ready() {
        return bench.isConnected
      },
      get epoch() {
        return bench.epoch
      },
      readers: 0,
      host: { clock: this.clock },
      connection: { isClosed: () => false },
      isOlderThan: () => false,
      inbox: () => `inbox-${this.#inboxes++}`,
      subscribe: (subject: string, receive: (message: Incoming) => void) => {
        this.listening.add(subject)
        this.receive = receive
        return { unsubscribe: () => this.listening.delete(subject) }
      },
      writeBuffer: { publish: () => undefined },
      error: () => undefined,
    } as unknown as Session
    const api = {
      createConsumer: async (_stream: string, name: string) => {
        await settled()
        if (this.failures-- > 0) throw new Error('not now')
        this.made.push(name)
        return { num_pending: 1 }
      },
      deleteConsumer: () => Promise.resolve(true),
      nextSubject: () => '',
    } as unknown as JetStreamApi
    this.readers = new PartitionReaders({
      settings: { session, api, stream: 's', groupId: 'g', description: '', native: {}, metadata: undefined },
      partitions: this.partitions,
      prefetch: 16,
      arrived: () => undefined,
      changedIn: ({ name }) => void this.changed.push(name),
      missing: () => Promise.resolve(),
      checkStream: () => Promise.resolve(),
      trouble: () => undefined,
      wake: () => void this.wakes++,
    })
    for (const partition of this.partitions) partition.load(NOTHING_LEFT, 'clean')
  }

  async start(): Promise<PartitionReader> {
    await Promise.all(this.readers.rebuild())
    return [...this.readers.all][0] as PartitionReader
  }
}

describe('the readers of partitions', () => {
  test('that have read everything in the same turn are all looked at', async () => {
    const bench = new Bench()
    const main = await bench.start()
    const [first, second] = bench.partitions as [Partition, Partition]
    // What came was for other groups: nothing waits, so the group has come further.
    for (const partition of bench.partitions) partition.readTo = 7
    second.isApart = true
    second.droppedTo = 9
    bench.readers.tendApart(() => true)
    const apart = [...bench.readers.all].find((reader) => reader !== main) as PartitionReader
    bench.readers.caughtUp(main)
    bench.readers.caughtUp(apart)
    await settled()
    assert.deepEqual([first.to, second.to], [7, 7])
    assert.deepEqual(bench.changed, ['0', '1'])
    bench.readers.end()
  })

  test('ask for more when all that was asked for has come, also if none of it is to be handed out', async () => {
    const bench = new Bench()
    const reader = await bench.start()
    const count = 4
    reader.pulls.ask(count, 0)
    bench.wakes = 0
    for (let seq = 1; seq <= count; seq++) {
      const message = new Incoming()
      message.subject = 'busbar.0.orders'
      message.reply = `$JS.ACK.s.c.1.${seq}.${seq}.1700000000000000000.100`
      bench.receive(message)
    }
    assert.equal(reader.pulls.asked, 0)
    assert.ok(bench.wakes > 0)
    bench.readers.end()
  })

  test('make no second consumer for an attempt that failed before the connection was lost', async () => {
    const bench = new Bench()
    bench.failures = 1
    await bench.start()
    bench.isConnected = false
    bench.epoch++
    bench.readers.down()
    bench.isConnected = true
    bench.epoch++
    bench.readers.up()
    await settled()
    await settled()
    assert.equal(bench.made.length, 1)
    await bench.clock.advance(10_000)
    await settled()
    await settled()
    assert.equal(bench.made.length, 1)
    assert.equal(bench.listening.size, 1)
    bench.readers.end()
    assert.equal(bench.listening.size, 0)
  })
})
