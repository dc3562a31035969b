import * as vitest from 'vitest'
import { BrokerError, startPrivate } from '../../tools/brokers/index.ts'
import { unlessMissing } from '../integration/broker-helpers.ts'
import { rabbitMqConformance } from './rabbitmq-suite.ts'

const broker = await unlessMissing(startPrivate('rabbitmq', { version: '4' }))
if (broker instanceof BrokerError) vitest.test.skip(broker.message)
else await rabbitMqConformance('rabbitmq-4', broker)
