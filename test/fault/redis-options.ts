/** Short leases, so that a test needs not wait long for what a dead member held. */
export const QUICK = {
  retention: { maxMessages: 1_000_000 },
  leaseMs: 1_500,
  pollIntervalMs: 100,
  checkServer: false,
} as const
