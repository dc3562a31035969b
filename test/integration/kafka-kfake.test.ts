import { describe } from 'vitest'
import { useKafka } from './kafka-broker.ts'
import { consumerTests } from './kafka-consumer-suite.ts'
import { producerTests, transactionTests } from './kafka-producer-suite.ts'

// An implementation that shares no code with Apache's, and so no reading of the protocol either. It takes epochs that were fenced back, by
// intent, and forgets what became of a transaction: fencing is tested on Apache's.
describe("franz-go's kfake", () => {
  const kafka = useKafka({ version: 'kfake', nodes: 3, properties: { 'group.consumer.heartbeat.interval.ms': '500' } })

  producerTests(kafka)
  transactionTests(kafka, 2)
  consumerTests(kafka)
})
