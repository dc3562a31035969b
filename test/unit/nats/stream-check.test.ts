import assert from 'node:assert/strict'
import { describe, test } from 'vitest'
import { manualClock } from 'busbar/testing'
import type { Session } from '../../../src/transports/nats/connection/session.ts'
import { Partition } from '../../../src/transports/nats/jetstream/partitions/partition.ts'
import { STREAM_EMPTIED } from '../../../src/transports/nats/jetstream/partitions/partition-losses.ts'
import { NOTHING_LEFT } from '../../../src/transports/nats/jetstream/partitions/partition-record.ts'
import { StreamCheck } from '../../../src/transports/nats/jetstream/partitions/stream-check.ts'
import { streamIdentityOf } from '../../../src/transports/nats/jetstream/server/identity.ts'
import type { StreamInfo } from '../../../src/transports/nats/jetstream/server/jetstream-types.ts'
import type { Topology } from '../../../src/transports/nats/jetstream/server/topology.ts'

/** All promises that are about to settle have. */
function settled(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve)
  })
}

const CREATED = '2026-01-01T00:00:00Z'
/** Longer than all looks together. */
const LONG_MS = 60_000

/** A stream, and two partitions of which everything up to 9 has been read. */
class Bench {
  readonly clock = manualClock()
  readonly partitions = ['0', '1'].map((name) => new Partition(name, 's', []))
  readonly check: StreamCheck
  /** Of the server, in ms since 1970: other than ours. */
  readonly #offsetMs = 86_400_000
  state = { messages: 9, first_seq: 1, last_seq: 9, storedAtMs: -3_600_000 }
  /** Copies besides that of the leader; undefined for a server that is alone. */
  copies: number | undefined = undefined
  isOld = false
  looks = 0
  arrivedAt = this.clock.monotonic()
  readonly reports: string[] = []

  constructor() {
    const identity = streamIdentityOf({ created: CREATED, config: {} })
    this.check = new StreamCheck({
      session: { host: { clock: this.clock } } as unknown as Session,
      topology: {
        identityOf: () => identity,
        look: () => {
          this.looks++
          return Promise.resolve(this.#info())
        },
      } as unknown as Topology,
      stream: 's',
      partitions: this.partitions,
      arrivedAt: () => this.arrivedAt,
      unread: () => 0,
      lost: () => undefined,
      report: (_count, _after, reason) => void this.reports.push(reason),
      changedIn: () => undefined,
      restarted: () => undefined,
    })
    for (const partition of this.partitions) {
      partition.load({ ...NOTHING_LEFT, stream: identity, to: 9 }, 'clean')
      partition.loadedAt = this.clock.monotonic()
    }
  }

  #time(ms: number): string {
    return new Date(this.#offsetMs + ms).toISOString()
  }

  #info(): StreamInfo {
    const { storedAtMs, ...state } = this.state
    const cluster = { leader: 'n1', replicas: Array.from({ length: this.copies ?? 0 }, () => ({})) }
    return {
      config: {},
      created: CREATED,
      state: { ...state, bytes: 0, first_ts: this.#time(storedAtMs) },
      ...(this.isOld ? {} : { ts: this.#time(this.clock.monotonic()) }),
      ...(this.copies === undefined ? {} : { cluster }),
    } as unknown as StreamInfo
  }

  /** `first`: when the first one was stored (as monotonic ms). */
  holds(messages: number, first: number): void {
    this.state = { messages, first_seq: 1, last_seq: messages, storedAtMs: first }
  }

  get positions(): readonly number[] {
    return this.partitions.map(({ to }) => to)
  }
}

describe('a stream with fewer messages than were read of it', () => {
  test.each([undefined, 0])('has lost them when there is no other copy (%s in a cluster)', async (copies) => {
    const bench = new Bench()
    bench.copies = copies
    bench.isOld = true
    bench.holds(5, -3_600_000)
    await bench.check.look()
    assert.deepEqual([bench.looks, bench.positions, bench.reports], [1, [0, 0], [STREAM_EMPTIED]])
  })

  test('may have a new leader that has not caught up: nothing is read again when it has', async () => {
    const bench = new Bench()
    bench.copies = 2
    bench.holds(5, -3_600_000)
    const look = bench.check.look()
    for (let step = 0; step < 20; step++) {
      await settled()
      await bench.clock.advance(100)
    }
    assert.ok(bench.looks > 3, `looked at ${bench.looks} times`)
    bench.holds(12, -3_600_000)
    await settled()
    await bench.clock.advance(LONG_MS)
    await look
    assert.deepEqual([bench.positions, bench.reports], [[9, 9], []])
  })

  test('has lost them when it stays so', async () => {
    const bench = new Bench()
    bench.copies = 2
    bench.holds(0, 0)
    const look = bench.check.look()
    for (let step = 0; step < 100; step++) {
      await settled()
      await bench.clock.advance(50)
    }
    await look
    assert.deepEqual([bench.positions, bench.reports], [[0, 0], [STREAM_EMPTIED]])
  })

  test('is not looked at any longer by a member that closes', async () => {
    const bench = new Bench()
    bench.copies = 2
    bench.holds(5, -3_600_000)
    let isOver = false
    const look = bench.check.look().then(() => (isOver = true))
    await settled()
    assert.deepEqual([bench.looks, isOver], [1, false])
    bench.check.close()
    await settled()
    assert.deepEqual([bench.looks, isOver], [1, true])
    await look
  })
})

describe('a stream that came back empty, and has more messages by now than were read of it', () => {
  test('is read from its beginning', async () => {
    const bench = new Bench()
    await bench.clock.advance(LONG_MS)
    bench.arrivedAt = bench.clock.monotonic()
    await bench.clock.advance(20_000)
    bench.holds(30, bench.clock.monotonic() - 10_000)
    await bench.check.look()
    assert.deepEqual([bench.looks, bench.positions, bench.reports], [1, [0, 0], [STREAM_EMPTIED]])
  })

  test('also if that happens between two looks', async () => {
    const bench = new Bench()
    bench.copies = 2
    await bench.clock.advance(LONG_MS)
    bench.holds(0, 0)
    const look = bench.check.look()
    await settled()
    bench.holds(30, bench.clock.monotonic())
    await bench.clock.advance(LONG_MS)
    await look
    assert.deepEqual([bench.positions, bench.reports], [[0, 0], [STREAM_EMPTIED]])
  })
})

test('a stream whose first message is older than the last one that was read is the same', async () => {
  for (const agoMs of [3_600_000, 500, 0]) {
    const bench = new Bench()
    await bench.clock.advance(LONG_MS)
    bench.arrivedAt = bench.clock.monotonic()
    // The clock of another node may be ahead.
    bench.holds(30, bench.clock.monotonic() - agoMs + 900)
    await bench.clock.advance(20_000)
    await bench.check.look()
    assert.deepEqual([bench.looks, bench.positions, bench.reports], [1, [9, 9], []])
  }
})

test('what is read of a stream whose first messages are gone is not taken for new', async () => {
  const bench = new Bench()
  await bench.clock.advance(LONG_MS)
  bench.state = { messages: 3, first_seq: 10, last_seq: 12, storedAtMs: bench.clock.monotonic() }
  await bench.check.look()
  assert.deepEqual([bench.looks, bench.positions, bench.reports], [1, [9, 9], []])
})
