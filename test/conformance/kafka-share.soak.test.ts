// A soak, as that of the transport itself: the scenarios of queues, with share groups.
import * as vitest from 'vitest'
import { allScenarios, tcpProxy } from 'busbar/testing'
import { registerScenarios } from '../../src/testing/conformance/conformance.ts'
import { startPrivate } from '../../tools/brokers/index.ts'
import { brokerFaults, foreign } from './kafka-conformance.ts'
import { sharedKafka, SHARE_PROPERTIES } from './kafka-share-suite.ts'
import { through } from './kafka-suite.ts'

const GROUPS = new Set([
  'settle',
  'redelivery',
  'groups',
  'patterns',
  'delay',
  'dead-letter',
  'back-pressure',
  'lifecycle',
  'reconnect',
  'foreign',
])

const broker = await startPrivate('kafka', { properties: SHARE_PROPERTIES })
const proxy = await tcpProxy(broker)

registerScenarios(
  allScenarios.filter(({ group }) => GROUPS.has(group)),
  vitest,
  {
    name: 'kafka-share',
    version: broker.version,
    create: () => sharedKafka({ url: broker.url, native: { client: { openSocket: through(proxy) } } }),
    childModule: new URL('./kafka-share-child.ts', import.meta.url),
    childEnv: { BUSBAR_TEST_KAFKA: broker.url },
    faults: { cutConnections: () => proxy.cut(), ...brokerFaults(broker) },
    foreign: foreign(broker),
    // It is no row of the table of transports.
    report: false,
  },
)

vitest.afterAll(async () => {
  await proxy.close()
  await broker.stop()
})
