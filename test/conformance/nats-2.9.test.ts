import * as vitest from 'vitest'
import { nats } from 'busbar/nats'
import { conformance, tcpProxy } from 'busbar/testing'
import { startPrivate } from '../../tools/brokers/index.ts'
import { natsFaults, natsForeign } from './nats-suite.ts'

// The oldest server that is supported, 2.9 of Debian 12. The whole suite takes as long as on the current server; the groups
// that depend on the server most run each time, all of them among the soaks.
const TELLING = [
  'publish',
  'settle',
  'ordering',
  'redelivery',
  'delay',
  'replay',
  'reconnect',
  'foreign',
  'observability',
]

const broker = await startPrivate('nats', { version: 'debian' })
const proxy = await tcpProxy(broker)
const { describe } = vitest

conformance(
  {
    ...vitest,
    describe: (name: string, body: () => void) =>
      process.env['BUSBAR_SOAK'] !== undefined || name.startsWith('conformance') || TELLING.includes(name)
        ? describe(name, body)
        : undefined,
  },
  {
    name: 'nats-2.9',
    version: broker.version,
    create: () => nats({ url: `nats://${proxy.host}:${proxy.port}`, ackWaitMs: 2_000, stream: { partitions: 3 } }),
    childModule: new URL('./nats-child.ts', import.meta.url),
    childEnv: { BUSBAR_TEST_NATS: broker.url },
    faults: natsFaults(broker, proxy),
    foreign: natsForeign(broker),
  },
)

vitest.afterAll(async () => {
  await proxy.close()
  await broker.stop()
})
