import assert from 'node:assert/strict'
import type { BatchHandler, BatchItemResult, Handler, HandlerContext } from '../../core/handler.ts'
import type { Message } from '../../core/message.ts'
import { assertSame } from './shorthand.ts'
import { waitUntil } from '../wait-until.ts'

/** One call of a handler. */
export interface Seen {
  readonly id: string
  readonly key: string | undefined
  readonly attempt: number
  readonly message: Message
  /** The handler of the probe: the name passed to `handler(name)`. */
  readonly by: string
  /** `performance.now()`. */
  readonly at: number
}

/** What a handler of a probe does. */
export type Behaviour = (message: Message, ctx: HandlerContext, by: string) => unknown

/** A recording handler. Several consumers may share one probe, which then sees all of their calls. */
export class Probe {
  /** Every call, in order. */
  readonly started: Seen[] = []
  /** Every successful call, in the order of completion. */
  readonly handled: Seen[] = []
  /** Maximum number of concurrent calls. */
  maxRunning = 0
  /** Keys that were handled twice at the same time. */
  readonly overlaps: string[] = []
  readonly #behave: Behaviour | undefined
  readonly #patienceMs: number
  readonly #runningKeys = new Map<string, number>()
  #running = 0

  constructor(patienceMs: number, behave?: Behaviour) {
    this.#patienceMs = patienceMs
    this.#behave = behave
  }

  get running(): number {
    return this.#running
  }

  /** A handler for one consumer. */
  handler(by = ''): Handler {
    return async (message, ctx) => {
      const seen: Seen = { id: message.id, key: message.key, attempt: ctx.attempt, message, by, at: performance.now() }
      this.#enter([seen])
      try {
        await this.#behave?.(message, ctx, by)
        this.handled.push(seen)
      } finally {
        this.#leave([seen])
      }
    }
  }

  /** A batch handler. `judge` decides the result of each message. */
  batchHandler(judge: (message: Message, attempt: number) => BatchItemResult | Promise<BatchItemResult>): BatchHandler {
    return async (messages, ctx) => {
      const batch = messages.map((message, index) => ({
        id: message.id,
        key: message.key,
        attempt: ctx.attempt(index),
        message,
        by: '',
        at: performance.now(),
      }))
      this.#enter(batch)
      try {
        const results: BatchItemResult[] = []
        // Messages behind a failed one of their key are handled again, whatever result we return.
        const failedKeys = new Set<string>()
        for (const seen of batch) {
          const result = await judge(seen.message, seen.attempt)
          results.push(result)
          if (result instanceof Error && seen.key !== undefined) failedKeys.add(seen.key)
          else if (!(result instanceof Error) && (seen.key === undefined || !failedKeys.has(seen.key)))
            this.handled.push(seen)
        }
        return results
      } finally {
        this.#leave(batch)
      }
    }
  }

  #enter(batch: readonly Seen[]): void {
    this.#running += batch.length
    this.maxRunning = Math.max(this.maxRunning, this.#running)
    for (const key of keysOf(batch)) {
      const running = (this.#runningKeys.get(key) ?? 0) + 1
      this.#runningKeys.set(key, running)
      if (running > 1) this.overlaps.push(key)
    }
    this.started.push(...batch)
  }

  #leave(batch: readonly Seen[]): void {
    this.#running -= batch.length
    for (const key of keysOf(batch)) this.#runningKeys.set(key, (this.#runningKeys.get(key) ?? 0) - 1)
  }

  /** Ids of the handled messages, in the order of completion. */
  ids(): string[] {
    return this.handled.map(({ id }) => id)
  }

  /** Attempt numbers of all calls for this message. */
  attemptsOf(id: string): number[] {
    return this.started.filter((seen) => seen.id === id).map(({ attempt }) => attempt)
  }

  /** Waits until `count` calls have succeeded. */
  async waitHandled(count: number): Promise<void> {
    await waitUntil(() => this.handled.length >= count, {
      timeoutMs: this.#patienceMs,
      describe: () => `${this.handled.length} of ${count} messages handled, ${this.started.length} calls`,
    })
  }

  /** Waits until there were `count` calls. */
  async waitStarted(count: number): Promise<void> {
    await waitUntil(() => this.started.length >= count, {
      timeoutMs: this.#patienceMs,
      describe: () => `${this.started.length} of ${count} calls of the handler`,
    })
  }

  /** Waits until all of these are handled, then asserts: each once, nothing else. */
  async waitExactly(ids: readonly string[]): Promise<void> {
    const missingFrom = (wanted: readonly string[]): string[] => {
      const done = new Set(this.ids())
      return wanted.filter((id) => !done.has(id))
    }
    await waitUntil(() => this.handled.length >= ids.length && missingFrom(ids).length === 0, {
      timeoutMs: this.#patienceMs,
      describe: () => {
        const missing = missingFrom(ids)
        return `${ids.length - missing.length} of ${ids.length} handled; missing ${missing.slice(0, 5).join(', ')}`
      },
    })
    this.assertExactly(ids)
  }

  /** Asserts that each of these was handled once, and nothing else. */
  assertExactly(ids: readonly string[]): void {
    assertSame(this.ids(), [...ids], 'each message must be handled once, and nothing else')
  }

  /** Asserts that the first handling of each message followed the order of this list. */
  assertOrder(ids: readonly string[]): void {
    const mine = new Set(ids)
    const order = [...new Set(this.ids())].filter((id) => mine.has(id))
    assert.deepEqual(order, [...ids], 'messages must be handled in the order of publication')
  }

  /** Asserts that no key was handled twice at the same time. */
  assertNoOverlap(): void {
    assert.deepEqual(this.overlaps, [], 'no two messages of one key may be worked on at the same time')
  }
}

function keysOf(batch: readonly Seen[]): Set<string> {
  const keys = new Set<string>()
  for (const { key } of batch) if (key !== undefined) keys.add(key)
  return keys
}
