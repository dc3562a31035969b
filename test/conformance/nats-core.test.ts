import * as vitest from 'vitest'
import { nats } from 'busbar/nats'
import { conformance, tcpProxy } from 'busbar/testing'
import { startPrivate } from '../../tools/brokers/index.ts'
import { natsForeign } from './nats-suite.ts'

const broker = await startPrivate('nats', { jetStream: false })
const proxy = await tcpProxy(broker)

conformance(vitest, {
  name: 'nats-core',
  version: broker.version,
  create: () => nats({ url: `nats://${proxy.host}:${proxy.port}`, jetstream: false }),
  childModule: new URL('./nats-core-child.ts', import.meta.url),
  childEnv: { BUSBAR_TEST_NATS: broker.url },
  faults: { cutConnections: () => proxy.cut() },
  foreign: natsForeign(broker),
})

vitest.afterAll(async () => {
  await proxy.close()
  await broker.stop()
})
