import { useKafka } from './kafka-broker.ts'
import { QUICK_GROUPS } from './kafka-consumer-setup.ts'
import { consumerTests } from './kafka-consumer-suite.ts'

consumerTests(useKafka(QUICK_GROUPS))
