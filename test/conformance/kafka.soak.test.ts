// A soak: a JVM that is killed and started again makes it longer than `npm test` has time for.
import * as vitest from 'vitest'
import { kafka } from 'busbar/kafka'
import { conformance, tcpProxy } from 'busbar/testing'
import { startPrivate } from '../../tools/brokers/index.ts'
import {
  kafkaFaults,
  kafkaForeign,
  ONE_OWNER,
  OUTLIVES_CONNECTIONS,
  QUICK,
  QUICK_PROPERTIES,
  SKIPPED_MARKERS,
  STRICT_NEEDS_ONE_PARTITION,
  through,
} from './kafka-suite.ts'

const broker = await startPrivate('kafka', { properties: QUICK_PROPERTIES })
const proxy = await tcpProxy(broker)

conformance(vitest, {
  name: 'kafka',
  version: broker.version,
  create: () => kafka({ ...QUICK, url: broker.url, native: { client: { openSocket: through(proxy) } } }),
  childModule: new URL('./kafka-child.ts', import.meta.url),
  childEnv: { BUSBAR_TEST_KAFKA: broker.url },
  faults: kafkaFaults(broker, proxy),
  foreign: kafkaForeign(broker),
  exceptions: {
    'ordering/strict': STRICT_NEEDS_ONE_PARTITION,
    'ordering/strict-two-members': STRICT_NEEDS_ONE_PARTITION,
    'back-pressure/never-returns': ONE_OWNER,
    'back-pressure/pause-resume': ONE_OWNER,
    'lifecycle/drain': ONE_OWNER,
    'reconnect/old-settles': OUTLIVES_CONNECTIONS,
    'transactions/restart-under-load': SKIPPED_MARKERS,
    'transactions/kill-under-load': SKIPPED_MARKERS,
    'transactions/exactly-once-restart': SKIPPED_MARKERS,
    'transactions/exactly-once-kill': SKIPPED_MARKERS,
  },
})

vitest.afterAll(async () => {
  await proxy.close()
  await broker.stop()
})
