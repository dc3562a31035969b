import { redis } from 'busbar/redis'
import type { Transport } from 'busbar'

export const create = (): Transport =>
  redis({ url: process.env['BUSBAR_TEST_REDIS'] ?? '', maxLen: 1_000_000, leaseMs: 2_000, pollMs: 200 })
