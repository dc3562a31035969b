/** What `claim` found. */
export type DedupeClaim =
  /** The key is ours until the lease ends. The token proves it. */
  | { readonly status: 'claimed'; readonly token: string }
  /** Somebody holds it, for that long unless they renew. */
  | { readonly status: 'in-progress'; readonly retryAfterMs: number }
  /** It was completed within its time to live. */
  | { readonly status: 'done' }

/**
 * Remembers which messages were handled. What `dedupe` needs of a database; the methods may be synchronous.
 *
 * - Each method is atomic, also between processes that share the store.
 * - A key is free, claimed (until its lease ends, when it is free again), or done (until its time to live ends).
 * - Every claim gets a new token. `renew`, `complete` and `release` act only while the claim of that token is the current
 *   one: a holder whose lease was taken over can do no harm to the one who took it.
 * - Time is the store's own, so that the clocks of its clients need not agree.
 * - Keys are strings of any length up to a few hundred characters, of printable characters as a rule.
 */
export interface DedupeStore {
  /** Takes a free key, or one whose lease has ended. */
  claim(key: string, leaseMs: number): DedupeClaim | Promise<DedupeClaim>
  /** Makes the lease end `leaseMs` from now. False: the claim is no longer ours. */
  renew(key: string, token: string, leaseMs: number): boolean | Promise<boolean>
  /** Marks the key as done for `ttlMs`. False: the claim is no longer ours, and nothing was changed. */
  complete(key: string, token: string, ttlMs: number): boolean | Promise<boolean>
  /** Gives the claim up, so that the next one gets it at once. Nothing happens when it is no longer ours. */
  release(key: string, token: string): void | Promise<void>
}
