import type { Clock, Timer } from '../core/clock.ts'
import type { Handler, HandlerContext } from '../core/handler.ts'
import type { Message } from '../core/message.ts'
import { TokenBucket } from './token-bucket.ts'
import type { Rate } from './token-bucket.ts'

/** Messages that share one token bucket. They wait for tokens in the order of arrival. */
export class ThrottleQueue {
  /** Links to the queues of other keys. */
  previous: ThrottleQueue | undefined = undefined
  next: ThrottleQueue | undefined = undefined
  readonly key: string
  readonly #bucket: TokenBucket
  // A set keeps the order of insertion and allows removal from the middle.
  readonly #waiting = new Set<() => void>()
  #timer: Timer | undefined

  constructor(rate: Rate, key = '') {
    this.key = key
    this.#bucket = new TokenBucket(rate)
  }

  get busy(): boolean {
    return this.#waiting.size > 0
  }

  /** Calls `next` as soon as there is a token; rejects when the signal aborts first. */
  run(next: Handler, message: Message, ctx: HandlerContext): unknown {
    // A new message must not overtake waiting ones, even if a token has just become available.
    if (this.#waiting.size > 0) return this.#wait(next, message, ctx)
    const waitMs = this.#bucket.take(ctx.clock.monotonic())
    if (waitMs === 0) return next(message, ctx)
    this.#arm(ctx.clock, waitMs)
    return this.#wait(next, message, ctx)
  }

  #wait(next: Handler, message: Message, ctx: HandlerContext): Promise<unknown> {
    const { signal } = ctx
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        this.#waiting.delete(go)
        signal.removeEventListener('abort', onAbort)
      }
      const go = (): void => {
        leave()
        // Started here, not after a microtask, so that nothing can run in between.
        try {
          resolve(next(message, ctx))
        } catch (error) {
          reject(error)
        }
      }
      const onAbort = (): void => {
        leave()
        if (this.#waiting.size === 0) this.#disarm()
        reject(signal.reason)
      }
      this.#waiting.add(go)
      if (signal.aborted) onAbort()
      else signal.addEventListener('abort', onAbort)
    })
  }

  #arm(clock: Clock, waitMs: number): void {
    // Timers truncate fractions of a millisecond and would fire before there is a token.
    this.#timer ??= clock.setTimer(Math.ceil(waitMs), () => {
      this.#timer = undefined
      this.#release(clock)
    })
  }

  #disarm(): void {
    this.#timer?.cancel()
    this.#timer = undefined
  }

  #release(clock: Clock): void {
    for (const go of this.#waiting) {
      const waitMs = this.#bucket.take(clock.monotonic())
      if (waitMs > 0) {
        this.#arm(clock, waitMs)
        return
      }
      go()
    }
  }
}
