import type { Transport } from 'busbar'
import { nats } from 'busbar/nats'
import { startPrivate } from '../../tools/brokers/index.ts'
import { faultSuite } from './fault-suite.ts'

interface Address {
  readonly host: string
  readonly port: number
}

const create = ({ host, port }: Address, options: { heartbeatMs?: number } = {}): Transport =>
  nats({ url: `nats://${host}:${port}`, leaseMs: 2_000, partitions: 3, ...options })

faultSuite({
  name: 'nats',
  start: () => startPrivate('nats'),
  create,
  impatient: (at) => create(at, { heartbeatMs: 600 }),
})
