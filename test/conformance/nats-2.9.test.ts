import * as vitest from 'vitest'
import { nats } from 'busbar/nats'
import { conformance, tcpProxy } from 'busbar/testing'
import type { Runner } from 'busbar/testing'
import { BrokerError, startPrivate } from '../../tools/brokers/index.ts'
import type { NatsBroker } from '../../tools/brokers/index.ts'
import { unlessMissing } from '../integration/broker-helpers.ts'
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

const isWhole = process.env['BUSBAR_SOAK'] !== undefined

const broker = await unlessMissing(startPrivate('nats', { version: 'debian' }))
if (broker instanceof BrokerError) vitest.test.skip(broker.message)
else await run(broker)

async function run(old: NatsBroker): Promise<void> {
  const proxy = await tcpProxy(old)
  conformance(
    { ...vitest, describe: describeTelling, it: itTelling },
    {
      name: 'nats-2.9',
      version: old.version,
      create: () => nats({ url: `nats://${proxy.host}:${proxy.port}`, leaseMs: 2_000, partitions: 3 }),
      childModule: new URL('./nats-child.ts', import.meta.url),
      childEnv: { BUSBAR_TEST_NATS: old.url },
      faults: natsFaults(old, proxy),
      foreign: natsForeign(old),
    },
  )
  vitest.afterAll(async () => {
    await proxy.close()
    await old.stop()
  })
}

function describeTelling(name: string, body: () => void): void {
  if (isWhole || TELLING.includes(name) || /^conformance|^side by side/.test(name)) vitest.describe(name, body)
}

function itTelling(...[name, options, body]: Parameters<Runner['it']>): void {
  const [group = ''] = name.split('/')
  if (isWhole || TELLING.includes(group)) vitest.it(name, options, body)
}
