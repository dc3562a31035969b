import { redis } from '../../src/transports/redis/index.ts'
import type { Transport } from 'busbar'

export const create = (): Transport =>
  redis({
    url: process.env['BUSBAR_TEST_REDIS'] ?? '',
    maxLen: 1_000_000,
    leaseMs: 1_500,
    pollMs: 100,
    checkServer: false,
  })
