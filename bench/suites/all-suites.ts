import { kafkaSuite } from './kafka.ts'
import { kafkaTransportSuite } from './kafka-transport.ts'
import { memorySuite } from './memory.ts'
import { natsSuite } from './nats.ts'
import { rabbitmqSuite } from './rabbitmq.ts'
import { redisSuite } from './redis.ts'
import { sqliteSuite } from './sqlite.ts'
import type { Suite, SuiteName } from './suite.ts'

export const SUITES: Readonly<Record<SuiteName, Suite>> = {
  memory: memorySuite,
  sqlite: sqliteSuite,
  rabbitmq: rabbitmqSuite,
  nats: natsSuite,
  redis: redisSuite,
  kafka: kafkaSuite,
  'kafka-transport': kafkaTransportSuite,
}
