import * as vitest from 'vitest'
import { nats } from 'busbar/nats'
import { conformance, tcpProxy } from 'busbar/testing'
import { startPrivate } from '../../tools/brokers/index.ts'
import { natsFaults, natsForeign } from './nats-suite.ts'

const broker = await startPrivate('nats')
const proxy = await tcpProxy(broker)

conformance(vitest, {
  name: 'nats',
  version: broker.version,
  create: () => nats({ url: `nats://${proxy.host}:${proxy.port}`, leaseMs: 2_000, partitions: 3 }),
  childModule: new URL('./nats-child.ts', import.meta.url),
  childEnv: { BUSBAR_TEST_NATS: broker.url },
  faults: natsFaults(broker, proxy),
  foreign: natsForeign(broker),
})

vitest.afterAll(async () => {
  await proxy.close()
  await broker.stop()
})
