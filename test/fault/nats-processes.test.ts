import { nats } from 'busbar/nats'
import { startPrivate } from '../../tools/brokers/index.ts'
import { processFaultSuite } from './process-fault-suite.ts'

processFaultSuite({
  name: 'nats',
  start: () => startPrivate('nats'),
  create: ({ host, port }) => nats({ url: `nats://${host}:${port}`, leaseMs: 2_000, partitions: 3 }),
  childModule: new URL('./nats-child.ts', import.meta.url),
  childEnv: ({ url }) => ({ BUSBAR_TEST_NATS: url }),
  // Longer than the lease of a partition.
  freezeMs: 3_500,
})
