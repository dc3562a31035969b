import assert from 'node:assert/strict'
import { describe, test } from 'vitest'
import { manualClock } from 'busbar/testing'
import type { NatsDelivery } from '../../../src/transports/nats/delivery.ts'
import { Incoming } from '../../../src/transports/nats/incoming.ts'
import type { ConsumerInfo } from '../../../src/transports/nats/jetstream-types.ts'
import { Lane } from '../../../src/transports/nats/lane.ts'
import type { LaneHost } from '../../../src/transports/nats/lane-host.ts'

const [STREAM, CONSUMER] = ['s', 'c']
const STORED_AT = '1700000000000000000'

/** A lane of one partition, a server that says what the test says, and notes that are read when the test lets them. */
class Bench {
  readonly lane: Lane
  readonly handled: number[] = []
  /** Sequences that the server has delivered and nobody has settled. */
  readonly pending = new Set<number>()
  /** A round trip to the server. */
  flush: () => Promise<void> = () => Promise.resolve()
  drain: () => Promise<void> = () => Promise.resolve()
  /** Called with each request for what there is right now. */
  onFetch: (count: number) => void = () => undefined
  readonly #notes = new Map<number, PromiseWithResolvers<undefined>>()
  readonly #listeners = new Set<(message: Incoming) => void>()
  readonly #counts = new Map<number, number>()
  #consumerSeq = 0
  #last = 0

  constructor() {
    const session = {
      ready: true,
      connection: { isClosed: () => false },
      host: { clock: manualClock() },
      inbox: () => '_INBOX.x',
      isOlderThan: () => false,
      error: (error: unknown) => assert.fail(String(error)),
      outbox: { publish: (_to: string, _reply: string, body: Uint8Array) => this.#asked(body), flush: () => undefined },
      request: () => Promise.resolve(),
      flush: () => this.flush(),
      subscribe: (_inbox: string, receive: (message: Incoming) => void) => {
        this.#listeners.add(receive)
        const end = (): void => void this.#listeners.delete(receive)
        return { unsubscribe: end, drain: () => this.drain().finally(end) }
      },
    }
    const host = {
      session,
      api: { nextSubject: () => 'next', consumerInfo: () => Promise.resolve(this.info()) },
      subjects: { topicOf: () => 'orders' },
      mapping: { decode: () => ({ message: {}, group: undefined, deliverAt: undefined }) },
      notes: { read: (_consumer: string, seq: number) => this.#notes.get(seq)?.promise ?? Promise.resolve(undefined) },
      ackWaitMs: 1_000,
      wake: () => this.#handOut(),
      leaseLeftMs: () => 1_000,
      lost: () => undefined,
      isAcking: () => false,
    } as unknown as LaneHost
    this.lane = new Lane(host, { filter: 'f', label: 'p0', unit: '0', dead: false }, STREAM, CONSUMER)
  }

  #asked(body: Uint8Array): void {
    const { batch } = JSON.parse(body.byteLength === 0 || body[0] !== 0x7b ? '{}' : String(body)) as { batch?: number }
    if (batch !== undefined) this.onFetch(batch)
  }

  /** As the runtime has them: what an active lane has, at once. */
  #handOut(): void {
    if (!this.lane.active) return
    for (const delivery of this.lane.take(Infinity)) {
      this.lane.outstanding.push(delivery)
      this.handled.push(delivery.seq)
    }
  }

  info(): ConsumerInfo {
    return {
      delivered: { consumer_seq: this.#consumerSeq, stream_seq: this.#last },
      ack_floor: { consumer_seq: 0, stream_seq: 0 },
      num_ack_pending: this.pending.size,
    } as ConsumerInfo
  }

  /** The server delivers it; `lost`: into a connection that was cut. */
  deliver(seq: number, how: { readonly lost?: boolean } = {}): void {
    const count = (this.#counts.get(seq) ?? 0) + 1
    this.#counts.set(seq, count)
    this.pending.add(seq)
    this.#last = Math.max(this.#last, seq)
    this.#consumerSeq++
    if (how.lost === true) return
    const message = new Incoming()
    message.subject = 'orders'
    message.reply = `$JS.ACK.${STREAM}.${CONSUMER}.${count}.${seq}.${this.#consumerSeq}.${STORED_AT}.0`
    for (const receive of this.#listeners) receive(message)
  }

  /** The note of that message is not read before the function that this returns is called. */
  holdNote(seq: number): () => void {
    const note = Promise.withResolvers<undefined>()
    this.#notes.set(seq, note)
    return () => {
      this.#notes.delete(seq)
      note.resolve(undefined)
    }
  }
}

/** All promises that are about to settle have. */
function settled(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve)
  })
}

describe('a lane keeps the order of what it fetches back', () => {
  test('behind a message that came before and waits for its note', async () => {
    const bench = new Bench()
    const { lane, handled } = bench
    // Delivered once to a member that is gone.
    bench.deliver(10, { lost: true })
    bench.pending.clear()
    await lane.activate(bench.info(), false)
    const readNote = bench.holdNote(10)
    bench.deliver(10)
    bench.deliver(11, { lost: true })
    bench.onFetch = () => bench.deliver(11)
    bench.deliver(12)
    await settled()
    assert.deepEqual(handled, [])
    readNote()
    await settled()
    assert.deepEqual(handled, [10, 11, 12])
  })

  test('when it begins to fetch back once more while notes of the first time are read', async () => {
    const bench = new Bench()
    const { lane, handled } = bench
    await lane.activate(bench.info(), false)
    const readNote = bench.holdNote(1)
    bench.deliver(1, { lost: true })
    bench.onFetch = () => bench.deliver(1)
    bench.deliver(2)
    await settled()
    assert.deepEqual(handled, [])
    // The lease ran out meanwhile, and the partition is ours again.
    lane.lose('its lease ran out')
    await lane.quiet()
    bench.onFetch = () => undefined
    const again = lane.activate(bench.info(), true)
    await settled()
    readNote()
    await settled()
    assert.equal(lane.active, false)
    bench.deliver(3)
    bench.deliver(1)
    bench.deliver(2)
    await again
    await settled()
    assert.deepEqual(handled, [1, 2, 3])
  })

  test('a message that comes again goes before later ones that wait for room', async () => {
    const bench = new Bench()
    const { lane } = bench
    await lane.activate(bench.info(), false)
    lane.active = false
    bench.deliver(1)
    const [first] = lane.take(1) as [NatsDelivery]
    bench.deliver(2)
    lane.returning(first)
    bench.deliver(1)
    await settled()
    assert.deepEqual(
      lane.take(Infinity).map(({ seq }) => seq),
      [1, 2],
    )
  })
})

describe('a lane that stops reading', () => {
  async function stopped(flush: () => Promise<void>): Promise<Lane> {
    const bench = new Bench()
    const { lane } = bench
    await lane.activate(bench.info(), false)
    lane.pulls.ask(1, 0)
    bench.flush = flush
    await lane.quiet()
    return lane
  }

  test('has no open requests', async () => {
    const { formerMs } = await stopped(() => Promise.resolve())
    assert.equal(formerMs, 0)
  })

  test('remembers what it has requested when the connection is cut meanwhile', async () => {
    const { formerMs } = await stopped(() => Promise.reject(new Error('connection disconnected')))
    assert.equal(formerMs, 1_000)
  })
})

describe('a lane that is handed over', () => {
  test('is scattered if the connection was lost since it stopped reading', async () => {
    const bench = new Bench()
    const { lane } = bench
    await lane.activate(bench.info(), false)
    assert.equal(lane.scattered, false)
    await lane.quiet()
    lane.down()
    lane.restored = bench.info()
    await lane.up()
    assert.equal(lane.scattered, true)
  })

  test('is not if it went on reading meanwhile', async () => {
    const bench = new Bench()
    const { lane } = bench
    await lane.activate(bench.info(), false)
    lane.down()
    lane.restored = bench.info()
    await lane.up()
    assert.equal(lane.scattered, false)
  })

  test('is while messages of the former owner have not been fetched back', async () => {
    const bench = new Bench()
    const { lane } = bench
    bench.deliver(1, { lost: true })
    const activated = lane.activate(bench.info(), true)
    await settled()
    await lane.quiet()
    await activated
    assert.equal(lane.scattered, true)
    bench.onFetch = () => bench.deliver(1)
    await lane.activate(bench.info(), true)
    assert.equal(lane.scattered, false)
  })
})

test('a lane whose consumer is another one does not wait for what the former one had delivered', async () => {
  const bench = new Bench()
  const { lane } = bench
  // Too far apart to ask for each, so the ack wait has to pass.
  bench.deliver(1, { lost: true })
  bench.deliver(60_000, { lost: true })
  void lane.activate(bench.info(), true)
  await settled()
  assert.equal(lane.active, false)
  bench.pending.clear()
  lane.lose('its consumer is another one')
  await lane.up()
  await settled()
  assert.equal(lane.active, true)
})

test('a lane whose subscription the client has closed rejects, and leaves no rejection unhandled', async () => {
  const bench = new Bench()
  await bench.lane.activate(undefined, false)
  const flushed = Promise.withResolvers<undefined>()
  bench.flush = () => flushed.promise
  bench.drain = () => Promise.reject(new Error('subscription is already closed'))
  const unhandled: unknown[] = []
  const note = (error: unknown): void => void unhandled.push(error)
  process.on('unhandledRejection', note)
  const quiet = assert.rejects(bench.lane.quiet(), /already closed/)
  await new Promise((resolve) => {
    setImmediate(resolve)
  })
  flushed.resolve(undefined)
  await quiet
  process.off('unhandledRejection', note)
  assert.deepEqual(unhandled, [])
})
