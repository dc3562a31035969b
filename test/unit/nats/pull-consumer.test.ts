import assert from 'node:assert/strict'
import { test } from 'vitest'
import { manualClock } from 'busbar/testing'
import { Incoming } from '../../../src/transports/nats/connection/incoming.ts'
import { PullConsumer } from '../../../src/transports/nats/jetstream/shared/pull-consumer.ts'
import type { PullConsumerHost } from '../../../src/transports/nats/jetstream/shared/pull-consumer.ts'

const [STREAM, CONSUMER] = ['s', 'c']
const STORED_AT = '1700000000000000000'

/** A consumer, a server that says what the test says, and notes that are read when the test lets them. */
class Bench {
  readonly consumer: PullConsumer
  readonly handled: number[] = []
  /** Requests that are buffered; what passes them on; and the end of the subscription. */
  readonly sent: string[] = []
  /** A round trip to the server. */
  flush: () => Promise<void> = () => Promise.resolve()
  drain: () => Promise<void> = () => Promise.resolve()
  readonly #notes = new Map<number, PromiseWithResolvers<undefined>>()
  readonly #listeners = new Set<(message: Incoming) => void>()
  readonly #counts = new Map<number, number>()
  #consumerSeq = 0

  constructor() {
    const session = {
      ready: true,
      readers: 0,
      connection: { isClosed: () => false },
      host: { clock: manualClock() },
      inbox: () => '_INBOX.x',
      isOlderThan: () => false,
      error: (error: unknown) => assert.fail(String(error)),
      writeBuffer: { publish: () => void this.sent.push('buffer'), flush: () => void this.sent.push('flush') },
      request: () => Promise.resolve(),
      flush: () => this.flush(),
      subscribe: (_inbox: string, receive: (message: Incoming) => void) => {
        this.#listeners.add(receive)
        const end = (): void => void this.#listeners.delete(receive)
        const drain = (): Promise<void> => {
          this.sent.push('drain')
          return this.drain().finally(end)
        }
        return { unsubscribe: end, drain }
      },
    }
    const host = {
      session,
      api: { nextSubject: () => 'next', consumerInfo: () => assert.fail() },
      subjects: { topicOf: () => 'orders' },
      mapping: { decode: () => ({ message: {}, group: undefined, deliverAt: undefined }) },
      notes: { read: (_consumer: string, seq: number) => this.#notes.get(seq)?.promise ?? Promise.resolve(undefined) },
      ackWaitMs: 1_000,
      wake: () => this.#handOut(),
      lost: () => undefined,
      acknowledgeIfSame: () => undefined,
      isAcking: () => false,
    } as unknown as PullConsumerHost
    this.consumer = new PullConsumer(host, { filter: 'f', label: 'any', dead: false }, STREAM, CONSUMER)
  }

  /** As the runtime has them: what an active consumer has, at once. */
  #handOut(): void {
    if (!this.consumer.active) return
    for (const delivery of this.consumer.take(Infinity)) {
      this.consumer.outstanding.push(delivery)
      this.handled.push(delivery.seq)
    }
  }

  /** The server delivers it; `lost`: into a connection that was cut. */
  deliver(seq: number, how: { readonly lost?: boolean } = {}): void {
    const count = (this.#counts.get(seq) ?? 0) + 1
    this.#counts.set(seq, count)
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

test('messages wait behind one that came before and waits for its note', async () => {
  const bench = new Bench()
  const { consumer, handled } = bench
  consumer.activate()
  // Delivered once to a member that is gone.
  bench.deliver(10, { lost: true })
  const readNote = bench.holdNote(10)
  bench.deliver(10)
  bench.deliver(12)
  await settled()
  assert.deepEqual(handled, [])
  readNote()
  await settled()
  assert.deepEqual(handled, [10, 12])
})

test('a message that comes again goes before later ones that wait for room', async () => {
  const bench = new Bench()
  const { consumer } = bench
  consumer.activate()
  consumer.active = false
  bench.deliver(1)
  consumer.take(1)
  bench.deliver(2)
  bench.deliver(1)
  await settled()
  assert.deepEqual(
    consumer.take(Infinity).map(({ seq }) => seq),
    [1, 2],
  )
})

test('a message that comes again while it is here is taken once', async () => {
  const bench = new Bench()
  const { consumer, handled } = bench
  consumer.activate()
  bench.deliver(1)
  bench.deliver(2)
  bench.deliver(1)
  await settled()
  assert.deepEqual(handled, [1, 2])
})

test('a consumer whose subscription the client has closed rejects, and leaves no rejection unhandled', async () => {
  const bench = new Bench()
  bench.consumer.activate()
  const flushed = Promise.withResolvers<undefined>()
  bench.flush = () => flushed.promise
  bench.drain = () => Promise.reject(new Error('subscription is already closed'))
  const unhandled: unknown[] = []
  const note = (error: unknown): void => void unhandled.push(error)
  process.on('unhandledRejection', note)
  const quiet = assert.rejects(bench.consumer.quiet(), /already closed/)
  await new Promise((resolve) => {
    setImmediate(resolve)
  })
  flushed.resolve(undefined)
  await quiet
  process.off('unhandledRejection', note)
  assert.deepEqual(unhandled, [])
})

test('a request that is still in the buffer is sent before the subscription ends', async () => {
  const bench = new Bench()
  bench.consumer.activate()
  bench.sent.length = 0
  await bench.consumer.quiet()
  assert.deepEqual(bench.sent.slice(0, 2), ['flush', 'drain'])
})
