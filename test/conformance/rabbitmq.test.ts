import { startPrivate } from '../../tools/brokers/index.ts'
import { rabbitMqConformance } from './rabbitmq-suite.ts'

await rabbitMqConformance('rabbitmq', await startPrivate('rabbitmq'))
