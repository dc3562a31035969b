import { rabbitmq } from '../../src/transports/rabbitmq/index.ts'
import { startPrivate } from '../../tools/brokers/index.ts'
import { processFaultSuite } from './process-fault-suite.ts'

processFaultSuite({
  name: 'rabbitmq',
  start: () => startPrivate('rabbitmq'),
  create: ({ host, port }) => rabbitmq({ url: `amqp://${host}:${port}` }),
  childModule: new URL('./rabbitmq-child.ts', import.meta.url),
  childEnv: ({ url }) => ({ BUSBAR_TEST_RABBITMQ: url }),
  // Two missed heartbeats and the broker gives the connection up.
  freezeMs: 7_000,
})
