/** Result of `claim`. */
export type DedupeClaim =
  /** The caller holds the key until the lease ends. The token proves it. */
  | { readonly status: 'claimed'; readonly token: string }
  /** Another caller holds the key, for `retryAfterMs` unless it renews. */
  | { readonly status: 'in-progress'; readonly retryAfterMs: number }
  /** The key was completed, and its time to live has not ended. */
  | { readonly status: 'done' }

/**
 * Remembers which messages were handled: what `dedupe` needs from a database. Methods may be synchronous.
 *
 * - Each method is atomic, even across processes that share the store.
 * - A key is free, claimed (until its lease ends), or done (until its time to live ends).
 * - Every claim gets a new token. `renew`, `complete` and `release` act only while that token's claim is current: a holder
 *   whose lease was taken over can't affect the new holder.
 * - The store uses its own clock, so the clocks of its clients need not agree.
 * - Keys are strings of up to a few hundred characters, usually printable.
 */
export interface DedupeStore {
  /** Claims a free key, or one whose lease has ended. */
  claim(key: string, leaseMs: number): DedupeClaim | Promise<DedupeClaim>
  /** Makes the lease end `leaseMs` from now. False: the caller no longer holds the claim. */
  renew(key: string, token: string, leaseMs: number): boolean | Promise<boolean>
  /** Marks the key as done for `ttlMs`. False: the caller no longer holds the claim, and nothing was changed. */
  complete(key: string, token: string, ttlMs: number): boolean | Promise<boolean>
  /** Gives up the claim, so that the next caller gets it at once. Does nothing when the caller no longer holds it. */
  release(key: string, token: string): void | Promise<void>
}
