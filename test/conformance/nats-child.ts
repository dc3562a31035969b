import { nats } from 'busbar/nats'
import type { NatsTransport } from 'busbar/nats'

export const create = (): NatsTransport =>
  nats({ url: process.env['BUSBAR_TEST_NATS'] ?? '', leaseMs: 2_000, partitions: 3 })
