import type { Transport } from 'busbar'
import { nats } from 'busbar/nats'

export const create = (): Transport =>
  nats({ url: process.env['BUSBAR_TEST_NATS'] ?? '', ackWaitMs: 2_000, stream: { partitions: 3 } })
