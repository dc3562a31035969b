import type { Middleware } from '../core/handler.ts'
import { LinkedList } from '../core/util/linked-list.ts'
import type { Message } from '../core/message.ts'
import { OptionsReader } from '../core/util/options-reader.ts'
import { ThrottleQueue } from './throttle-queue.ts'
import type { Rate } from './token-bucket.ts'

/** Options of `throttle`. */
export interface ThrottleOptions {
  /** Messages per second, 0.001 to 1,000,000. Give either this, or `limit` with `intervalMs`. */
  readonly perSecond?: number | undefined
  /** Messages per `intervalMs`. */
  readonly limit?: number | undefined
  /** Interval of `limit`, in ms. */
  readonly intervalMs?: number | undefined
  /**
   * Maximum number of messages that may start at once after a quiet period. Default: 1 plus the messages of 10 ms, which makes
   * up for timers that fire late.
   */
  readonly burst?: number | undefined
  /** Messages for which it returns the same string share a rate. Default: all messages of the consumer share one. */
  readonly key?: ((message: Message) => string) | undefined
  /** With `key`: maximum number of keys remembered; the least recently used one is forgotten first. Default 10,000. */
  readonly maxKeys?: number | undefined
}

const THROTTLE_DEFAULTS = { slackMs: 10, maxKeys: 10_000 } as const

interface ResolvedThrottle {
  readonly rate: Rate
  readonly key: ((message: Message) => string) | undefined
  readonly maxKeys: number
}

function resolve(options: ThrottleOptions): ResolvedThrottle {
  const reader = new OptionsReader('throttle()', options, 'throttle({ perSecond: 10 })')
  const perSecond = reader.number('perSecond', undefined, { min: 0.001, max: 1_000_000 })
  const limit = reader.integer('limit', undefined, { min: 1 })
  const intervalMs = reader.integer('intervalMs', undefined, { min: 1 })
  const byLimit = reader.has('limit') || reader.has('intervalMs')
  if (reader.has('perSecond') === byLimit)
    reader.problem('', 'needs a rate: either perSecond, or limit together with intervalMs')
  else if (byLimit && !reader.has('limit')) reader.problem('limit', 'is required with intervalMs')
  else if (byLimit && !reader.has('intervalMs')) reader.problem('intervalMs', 'is required with limit')
  const perTokenMs = perSecond === undefined ? (intervalMs ?? 1) / (limit ?? 1) : 1000 / perSecond
  const burst = reader.integer('burst', undefined, { min: 1, max: 1_000_000 })
  const key = reader.callable<(message: Message) => string>('key')
  if (reader.has('maxKeys') && !reader.has('key')) reader.problem('maxKeys', 'has no meaning without key')
  const maxKeys = reader.integer('maxKeys', THROTTLE_DEFAULTS.maxKeys, { min: 1, max: 10_000_000 })
  reader.done()
  const rate = { intervalMs: perTokenMs, burst: burst ?? 1 + THROTTLE_DEFAULTS.slackMs / perTokenMs }
  return Object.freeze({ rate, key, maxKeys })
}

/**
 * Limits the rate at which messages start, for each consumer that uses it and, with `key`, for each key: in any period, at most
 * `burst` messages plus the rate times the period. Messages over the limit wait in this process in order of arrival; meanwhile
 * each takes one of the consumer's `concurrency` slots, but uses no attempt. When `ctx.signal` aborts, the message stops
 * waiting and the attempt fails with the signal's reason.
 *
 *     bus.consume(OrderPlaced, callPartner, { middleware: [throttle({ perSecond: 50 })] })
 *
 * Throws `ConfigurationError` for invalid options.
 */
export function throttle(options: ThrottleOptions): Middleware {
  const { rate, key, maxKeys } = resolve(options)
  if (key === undefined) {
    return (next) => {
      const queue = new ThrottleQueue(rate)
      return (message, ctx) => queue.run(next, message, ctx)
    }
  }
  return (next) => {
    const queues = new Queues(rate, maxKeys)
    return (message, ctx) => queues.of(key(message)).run(next, message, ctx)
  }
}

/** One queue per key, in the order of last use. */
class Queues {
  readonly #rate: Rate
  readonly #maxKeys: number
  readonly #queues = new Map<string, ThrottleQueue>()
  readonly #byUse = new LinkedList<ThrottleQueue>()

  constructor(rate: Rate, maxKeys: number) {
    this.#rate = rate
    this.#maxKeys = maxKeys
  }

  of(key: string): ThrottleQueue {
    let queue = this.#queues.get(key)
    if (queue === undefined) {
      if (this.#queues.size >= this.#maxKeys) this.#evict()
      queue = new ThrottleQueue(this.#rate, key)
      this.#queues.set(key, queue)
    } else this.#byUse.remove(queue)
    this.#byUse.push(queue)
    return queue
  }

  /** Keeps queues with waiting messages: there are never more of them than handlers of the consumer. */
  #evict(): void {
    let queue = this.#byUse.first
    while (queue?.busy) queue = queue.next
    if (queue === undefined) return
    this.#byUse.remove(queue)
    this.#queues.delete(queue.key)
  }
}
