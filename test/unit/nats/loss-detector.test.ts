import assert from 'node:assert/strict'
import { describe, test } from 'vitest'
import type { ConsumerInfo, StreamInfo } from '../../../src/transports/nats/jetstream/server/jetstream-types.ts'
import type { PullConsumer } from '../../../src/transports/nats/jetstream/shared/pull-consumer.ts'
import { streamIdentityOf } from '../../../src/transports/nats/jetstream/server/identity.ts'
import { LossDetector } from '../../../src/transports/nats/jetstream/shared/loss-detector.ts'
import type { LossDetectorParts } from '../../../src/transports/nats/jetstream/shared/loss-detector.ts'
import type { StateRecord } from '../../../src/transports/nats/jetstream/server/state-records.ts'

/** No delivery that says how many messages were left. */
const NOTHING_CAME = { deliveries: 0, unread: 0 }

/** A stream with one consumer, the records of its group, and what its members reported. */
class Bench {
  /** Sequences that the stream holds. */
  first = 1
  last = 10
  /** Sequences in between that were deleted one by one. */
  readonly deleted = new Set<number>()
  created = '2026-01-01T00:00:00.000000000Z'
  /** The stream has been created again; the consumer does not show that yet. */
  isGone = false
  /** The consumer has delivered and settled everything up to here. */
  delivered = 0
  /** How many of those it never delivered: they were deleted before. */
  skipped = 0
  readonly counts: number[] = []
  #record: StateRecord | undefined
  #seq = 0

  member(consumerId: string): { readonly losses: LossDetector; readonly consumer: PullConsumer } {
    const api = {
      consumerInfo: () => Promise.resolve(this.#consumer()),
      streamInfo: () => Promise.resolve(this.#stream()),
      createConsumer: (_stream: string, _name: string, { opt_start_seq: start }: { opt_start_seq: number }) =>
        Promise.resolve({ num_pending: this.#heldFrom(start) }),
      deleteConsumer: () => Promise.resolve(true),
    }
    const records = {
      lookSubject: () => 'look',
      read: () => Promise.resolve(this.#record),
      write: (_subject: string, text: string, expected?: number) => {
        if (expected !== undefined && (this.#record?.seq ?? 0) !== expected) return Promise.resolve(undefined)
        this.#record = { seq: ++this.#seq, time: 0, text }
        return Promise.resolve(this.#seq)
      },
    }
    const session = {
      ready: true,
      host: {
        name: 'nats',
        events: { emit: (_: string, { count }: { count: number }) => void this.counts.push(count) },
      },
      error: (error: unknown) => assert.fail(String(error)),
    }
    const spec = { topic: 'orders', group: 'g', ephemeral: false, consumerId }
    const topology = {
      identityOf: () => (this.isGone ? 'another' : streamIdentityOf({ created: this.created, config: {} })),
    }
    const losses = new LossDetector({ session, api, records, topology, spec } as unknown as LossDetectorParts)
    const consumer = { stream: 's', name: 'c', identity: '#1', plan: { filter: 'f' } } as unknown as PullConsumer
    return { losses, consumer }
  }

  /** Everything that is kept on the server is lost. */
  forget(): void {
    this.#record = undefined
    this.#seq = 0
  }

  #consumer(): ConsumerInfo {
    const { delivered, skipped } = this
    return {
      ack_floor: { stream_seq: delivered },
      delivered: { stream_seq: delivered, consumer_seq: delivered - skipped },
      num_pending: this.#heldFrom(delivered + 1),
    } as ConsumerInfo
  }

  #heldFrom(start: number): number {
    const from = Math.max(this.first, start)
    return Math.max(0, this.last - from + 1) - [...this.deleted].filter((seq) => seq >= from).length
  }

  #stream(): StreamInfo {
    return {
      config: {},
      created: this.created,
      state: { first_seq: this.first, last_seq: this.last, num_deleted: this.deleted.size },
    } as unknown as StreamInfo
  }
}

describe('a loss is reported once', () => {
  test('when the consumer is with another member while messages are deleted, and comes back', async () => {
    const bench = new Bench()
    const [one, two] = [bench.member('one'), bench.member('two')]
    await one.losses.look([one.consumer])
    await two.losses.begin([two.consumer])
    bench.first = 5
    // From here on it is read by the other one.
    await two.losses.look([two.consumer])
    assert.deepEqual(bench.counts, [4])
    await one.losses.look([one.consumer])
    assert.deepEqual(bench.counts, [4])
    bench.first = 7
    await one.losses.look([one.consumer])
    assert.deepEqual(bench.counts, [4, 2])
  })

  test('when a member joins and looks before the owner does', async () => {
    const bench = new Bench()
    const [one, two] = [bench.member('one'), bench.member('two')]
    await one.losses.look([one.consumer])
    bench.first = 5
    await two.losses.begin([two.consumer])
    await one.losses.look([one.consumer])
    assert.deepEqual(bench.counts, [4])
  })

  test('when all members read the consumer', async () => {
    const bench = new Bench()
    const members = ['one', 'two', 'three'].map((id) => bench.member(id))
    for (const { losses, consumer } of members) await losses.look([consumer])
    bench.first = 3
    for (const { losses, consumer } of members) await losses.look([consumer])
    assert.deepEqual(bench.counts, [2])
  })

  for (const isForgotten of [false, true])
    test(`when the stream is deleted${isForgotten ? ', and all records with it' : ''}`, async () => {
      const bench = new Bench()
      const members = ['one', 'two', 'three'].map((id) => bench.member(id))
      for (const { losses, consumer } of members) await losses.begin([consumer])
      for (const { losses, consumer } of members) await losses.look([consumer])
      bench.isGone = true
      if (isForgotten) bench.forget()
      for (const { losses, consumer } of members) await losses.streamGone(consumer, 0, NOTHING_CAME)
      assert.deepEqual(bench.counts, [10])
    })
})

test('a purge is a loss of everything that was waiting, whatever was stored and delivered after it', async () => {
  const bench = new Bench()
  const { losses, consumer } = bench.member('one')
  await losses.look([consumer])
  bench.first = 11
  bench.skipped = 10
  bench.last = 30
  bench.delivered = 25
  await losses.look([consumer])
  assert.deepEqual(bench.counts, [10])
})

describe('messages that are deleted one by one', () => {
  test('are a loss when they were waiting', async () => {
    const bench = new Bench()
    const { losses, consumer } = bench.member('one')
    await losses.look([consumer])
    for (const seq of [3, 5, 6]) bench.deleted.add(seq)
    await losses.look([consumer])
    await losses.look([consumer])
    assert.deepEqual(bench.counts, [3])
  })

  test('are counted beside those that were delivered since and are still stored', async () => {
    const bench = new Bench()
    const { losses, consumer } = bench.member('one')
    await losses.look([consumer])
    bench.delivered = 4
    bench.last = 20
    for (const seq of [7, 15]) bench.deleted.add(seq)
    await losses.look([consumer])
    assert.deepEqual(bench.counts, [1])
  })

  test('are no loss when they had been delivered', async () => {
    const bench = new Bench()
    const { losses, consumer } = bench.member('one')
    bench.delivered = 4
    await losses.look([consumer])
    bench.deleted.add(2)
    await losses.look([consumer])
    assert.deepEqual(bench.counts, [])
  })

  test('are a loss when the beginning of the stream has reached earlier gaps meanwhile', async () => {
    const bench = new Bench()
    const { losses, consumer } = bench.member('one')
    bench.delivered = 4
    bench.deleted.add(2)
    await losses.look([consumer])
    bench.first = 3
    bench.deleted.delete(2)
    bench.deleted.add(8)
    await losses.look([consumer])
    assert.deepEqual(bench.counts, [1])
  })
})

describe('a stream that is deleted', () => {
  test('is a loss of what another member saw last, which has left since', async () => {
    const bench = new Bench()
    const [one, two] = [bench.member('one'), bench.member('two')]
    await one.losses.look([one.consumer])
    bench.last = 14
    await two.losses.begin([two.consumer])
    await two.losses.look([two.consumer])
    bench.isGone = true
    await one.losses.streamGone(one.consumer, 0, NOTHING_CAME)
    assert.deepEqual(bench.counts, [14])
  })

  test('is no loss of what was handled since the last look', async () => {
    const bench = new Bench()
    const { losses, consumer } = bench.member('one')
    await losses.look([consumer])
    bench.isGone = true
    await losses.streamGone(consumer, 0, { deliveries: 10, unread: 0 })
    assert.deepEqual(bench.counts, [])
  })

  test('is a loss of what was stored since, as the last delivery shows', async () => {
    const bench = new Bench()
    const { losses, consumer } = bench.member('one')
    await losses.look([consumer])
    bench.isGone = true
    await losses.streamGone(consumer, 2, { deliveries: 8, unread: 30 })
    assert.deepEqual(bench.counts, [32])
  })

  test('is counted once when a member has looked at the new one already', async () => {
    const bench = new Bench()
    const [one, two] = [bench.member('one'), bench.member('two')]
    for (const { losses, consumer } of [one, two]) await losses.look([consumer])
    bench.created = '2026-01-02T00:00:00.000000000Z'
    await one.losses.streamGone(one.consumer, 0, NOTHING_CAME)
    bench.last = 3
    await one.losses.look([one.consumer])
    await two.losses.streamGone(two.consumer, 0, NOTHING_CAME)
    assert.deepEqual(bench.counts, [10])
  })

  test('is a loss of what the last delivery shows, when no member has looked yet', async () => {
    const bench = new Bench()
    const members = [bench.member('one'), bench.member('two'), bench.member('three')] as const
    bench.isGone = true
    const lasts = [NOTHING_CAME, { deliveries: 8, unread: 30 }, { deliveries: 9, unread: 29 }]
    for (const [at, { losses, consumer }] of members.entries())
      await losses.streamGone(consumer, 0, lasts[at] ?? NOTHING_CAME)
    assert.deepEqual(bench.counts, [30])
  })

  test('while no member was there, is reported by the next one', async () => {
    const bench = new Bench()
    const former = bench.member('one')
    await former.losses.look([former.consumer])
    bench.created = '2026-01-02T00:00:00.000000000Z'
    bench.last = 0
    for (const id of ['two', 'three']) {
      const { losses, consumer } = bench.member(id)
      ;(consumer as { identity: string }).identity = '#2'
      await losses.begin([consumer])
    }
    assert.deepEqual(bench.counts, [10])
  })
})
