import * as vitest from 'vitest'
import { BrokerError, startPrivate } from '../../tools/brokers/index.ts'
import { unlessMissing } from '../integration/broker-helpers.ts'
import { redisConformance } from './redis-suite.ts'

const broker = await unlessMissing(startPrivate('redis', { version: '8' }))
if (broker instanceof BrokerError) vitest.test.skip(broker.message)
else await redisConformance('redis-8', broker)
