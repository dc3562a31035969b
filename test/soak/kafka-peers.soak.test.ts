import { describe } from 'vitest'
import { CODECS } from '../../src/kafka/records/batch-format.ts'
import { useKafka } from '../integration/kafka-broker.ts'
import { QUICK_GROUPS } from '../integration/kafka-consumer-setup.ts'
import { exchangeTest, groupTest, partitionerTest, transactionTest } from '../integration/kafka-peer-suite.ts'
import { JAVA, KCAT } from '../peers/kafka/console-peers.ts'
import { FRANZ, KAFKAJS, LIBRDKAFKA, PLATFORMATIC } from '../peers/kafka/wire-peers.ts'

const kafka = useKafka(QUICK_GROUPS)

describe.each([KAFKAJS, PLATFORMATIC, LIBRDKAFKA, FRANZ, JAVA, KCAT])('we and $name', (peer) => {
  exchangeTest(kafka, peer, CODECS)
  partitionerTest(kafka, peer)
  if (!peer.lacks.includes('transactions')) transactionTest(kafka, peer)
  for (const index of peer.groups.keys()) groupTest(kafka, peer, index)
})
