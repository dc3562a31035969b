import { redis } from 'busbar/redis'
import type { Transport } from 'busbar'

export const create = (): Transport =>
  redis({
    url: process.env['BUSBAR_TEST_REDIS'] ?? '',
    retention: { maxMessages: 1_000_000 },
    leaseMs: 2_000,
    pollIntervalMs: 200,
  })
