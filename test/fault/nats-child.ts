import type { Transport } from 'busbar'
import { nats } from 'busbar/nats'

export const create = (): Transport =>
  nats({
    url: process.env['BUSBAR_TEST_NATS'] ?? '',
    leaseMs: Number(process.env['BUSBAR_TEST_LEASE_MS'] ?? 2_000),
    partitions: Number(process.env['BUSBAR_TEST_PARTITIONS'] ?? 3),
  })
