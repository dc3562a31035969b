import type { Clock, Timer } from '../core/clock.ts'
import type { HandlerContext } from '../core/handler.ts'
import { setQuietTimer } from './quiet-timer.ts'

/** A claim whose lease is kept alive. */
export class Lease {
  readonly key: string
  readonly token: string
  readonly messageId: string
  readonly ctx: HandlerContext
  readonly claimedAt: number
  /** A renewal is in progress. */
  renewing = false
  /** Another process may hold the claim now, and the loss was reported. */
  lost = false

  constructor(key: string, token: string, messageId: string, ctx: HandlerContext) {
    this.key = key
    this.token = token
    this.messageId = messageId
    this.ctx = ctx
    this.claimedAt = ctx.clock.monotonic()
  }
}

/**
 * Renews the leases of slow handlers, with one timer per consumer: a quick handler needs no timer of its own. A lease is
 * renewed before half of it is over.
 */
export class Leases {
  readonly #intervalMs: number
  readonly #renew: (lease: Lease) => Promise<boolean>
  readonly #held = new Set<Lease>()
  #timer: Timer | undefined

  /** `renew` resolves with false when the lease must not be renewed again, and never rejects. */
  constructor(leaseMs: number, renew: (lease: Lease) => Promise<boolean>) {
    this.#intervalMs = leaseMs / 3
    this.#renew = renew
  }

  add(lease: Lease): void {
    this.#held.add(lease)
    // The timer stops when it finds nothing to do, so a quick handler need not cancel it.
    if (this.#timer === undefined) this.#arm(lease.ctx.clock)
  }

  /** The lease is settled. */
  remove(lease: Lease): void {
    this.#held.delete(lease)
  }

  holds(lease: Lease): boolean {
    return this.#held.has(lease)
  }

  #arm(clock: Clock): void {
    this.#timer = setQuietTimer(clock, this.#intervalMs, () => {
      this.#timer = undefined
      this.#turn(clock)
    })
  }

  #turn(clock: Clock): void {
    const now = clock.monotonic()
    for (const lease of this.#held) {
      // The attempt is over for the bus. A handler that hangs must not block the message's next attempt forever: without
      // renewal the lease ends.
      if (lease.ctx.signal.aborted) this.#held.delete(lease)
      // A lease claimed just now can wait for the next turn, which still comes before half of it is over.
      else if (!lease.renewing && (now - lease.claimedAt) * 2 >= this.#intervalMs) void this.#renewOne(lease)
    }
    if (this.#held.size > 0) this.#arm(clock)
  }

  async #renewOne(lease: Lease): Promise<void> {
    lease.renewing = true
    const again = await this.#renew(lease)
    lease.renewing = false
    if (!again) this.#held.delete(lease)
  }
}
