import * as vitest from 'vitest'
import { BrokerError, startPrivate } from '../../tools/brokers/index.ts'
import { unlessMissing } from '../integration/broker-helpers.ts'
import { kafkaConformance } from './kafka-conformance.ts'
import { QUICK_PROPERTIES } from './kafka-suite.ts'

const broker = await unlessMissing(startPrivate('kafka', { properties: QUICK_PROPERTIES }))
if (broker instanceof BrokerError) vitest.test.skip(broker.message)
else await kafkaConformance(broker, { name: 'kafka-kip-848', protocol: 'consumer' })
