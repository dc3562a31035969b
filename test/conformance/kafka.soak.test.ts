// A soak: a JVM that is killed and started again makes it longer than `npm test` has time for.
import { startPrivate } from '../../tools/brokers/index.ts'
import { kafkaConformance } from './kafka-conformance.ts'
import { QUICK_PROPERTIES } from './kafka-suite.ts'

await kafkaConformance(await startPrivate('kafka', { properties: QUICK_PROPERTIES }), { name: 'kafka' })
