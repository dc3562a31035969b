import { systemClock } from '../../../src/core/clock.ts'
import type { Clock } from '../../../src/core/clock.ts'
import { RejectError } from '../../../src/core/errors.ts'
import type { ConsumerControl, HandlerContext } from '../../../src/core/handler.ts'
import { NO_HEADERS } from '../../../src/core/message.ts'
import type { EncodedMessage, Message } from '../../../src/core/message.ts'
import { RetryRequest } from '../../../src/core/consume/retry.ts'

/** A consumer that only keeps its caps. */
export interface FakeConsumer extends ConsumerControl {
  readonly caps: ReadonlyMap<string, number>
  /** Every call of `limit`, in order. */
  readonly calls: readonly (readonly [reason: string, maxConcurrency: number | undefined])[]
  onLimit: (() => void) | undefined
}

export function fakeConsumer(topic = 'orders.placed', group = 'billing'): FakeConsumer {
  const caps = new Map<string, number>()
  const calls: (readonly [string, number | undefined])[] = []
  return {
    id: `${group}.fake.0`,
    topic,
    group,
    caps,
    calls,
    onLimit: undefined,
    limit(reason, maxConcurrency) {
      calls.push([reason, maxConcurrency])
      if (maxConcurrency === undefined) caps.delete(reason)
      else caps.set(reason, maxConcurrency)
      this.onLimit?.()
    },
  }
}

export interface FakeContext extends HandlerContext {
  readonly extended: readonly number[]
  abort(reason: unknown): void
}

export function fakeContext(
  options: { readonly clock?: Clock; readonly attempt?: number; readonly consumer?: ConsumerControl } = {},
): FakeContext {
  const controller = new AbortController()
  const consumer = options.consumer ?? fakeConsumer()
  const extended: number[] = []
  return {
    attempt: options.attempt ?? 1,
    group: consumer.group,
    transport: { name: 'main', system: 'fake' },
    position: {},
    destination: 'orders.placed',
    partition: undefined,
    signal: controller.signal,
    consumer,
    clock: options.clock ?? systemClock,
    extended,
    abort: (reason) => controller.abort(reason),
    publish: () => Promise.reject(new Error('the fake context does not publish')),
    publishMany: () => Promise.reject(new Error('the fake context does not publish')),
    reject(reason, rejectOptions) {
      throw new RejectError(reason, rejectOptions)
    },
    retry(retryOptions = {}) {
      throw new RetryRequest(retryOptions)
    },
    extend(ms) {
      extended.push(ms)
    },
  }
}

export function fakeMessage(overrides: Partial<Omit<Message, 'encoded'>> = {}): Message {
  const plain = {
    id: 'id-1',
    topic: 'orders.placed',
    type: 'orders.placed',
    source: 'shop',
    key: undefined,
    contentType: 'application/json',
    subject: undefined,
    dataSchema: undefined,
    version: undefined,
    correlationId: undefined,
    causationId: undefined,
    traceparent: undefined,
    tracestate: undefined,
    expiresAt: undefined,
    headers: NO_HEADERS,
    body: new Uint8Array(),
  }
  const message = { ...plain, time: new Date(0), data: undefined, ...overrides }
  const encoded: EncodedMessage = { ...plain, id: message.id, topic: message.topic, time: 0, expiresAt: undefined }
  return { ...message, encoded }
}

/** Calls a function that may throw at once or later, and returns the error; throws when there is none. */
export async function errorOf(call: () => unknown): Promise<unknown> {
  try {
    await call()
  } catch (error) {
    return error
  }
  throw new Error('nothing was thrown')
}

export interface Deferred<Value> {
  readonly promise: Promise<Value>
  resolve(value: Value): void
  reject(error: unknown): void
}

export function deferred<Value = void>(): Deferred<Value> {
  return Promise.withResolvers<Value>()
}

/** Lets promise chains that were woken run to their end. */
export function turn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve)
  })
}
