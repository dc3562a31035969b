// A soak: three minutes, and a broker of its own.
import { kafka } from 'busbar/kafka'
import { startPrivate } from '../../tools/brokers/index.ts'
import { QUICK, QUICK_PROPERTIES } from '../conformance/kafka-suite.ts'
import { processFaultSuite } from './process-fault-suite.ts'

processFaultSuite({
  name: 'kafka',
  start: () => startPrivate('kafka', { properties: QUICK_PROPERTIES }),
  create: ({ host, port }) => kafka({ ...QUICK, brokers: [`${host}:${port}`] }),
  childModule: new URL('../conformance/kafka-child.ts', import.meta.url),
  childEnv: ({ url }) => ({ BUSBAR_TEST_KAFKA: url }),
  // Longer than the session.
  freezeMs: 3_500,
})
