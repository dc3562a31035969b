import { startPrivate } from '../../tools/brokers/index.ts'
import { rabbitMqConformance } from './rabbitmq-suite.ts'

/** All topics of a group share its queues: nothing else may change. */
await rabbitMqConformance('rabbitmq-per-group', await startPrivate('rabbitmq'), '?queues=per-group')
