/** Short leases, so that a test needs not wait long for what a dead member held. */
export const QUICK = { maxLen: 1_000_000, leaseMs: 1_500, pollMs: 100, checkServer: false } as const
