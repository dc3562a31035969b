import { CODECS } from '../../src/kafka/records/batch-format.ts'
import { KCAT } from '../peers/kafka/console-peers.ts'
import { KAFKAJS } from '../peers/kafka/wire-peers.ts'
import { useKafka } from './kafka-broker.ts'
import { QUICK_GROUPS } from './kafka-consumer-setup.ts'
import { exchangeTest, groupTest } from './kafka-peer-suite.ts'

// A quick look; test/soak/kafka-peers.soak.test.ts has all peers, and every way to share a group with them.
const kafka = useKafka(QUICK_GROUPS)

exchangeTest(kafka, KAFKAJS, CODECS)
exchangeTest(kafka, KCAT, ['lz4'])
groupTest(kafka, KAFKAJS, 0)
