import type { Transport } from 'busbar'
import { sharedKafka } from './kafka-share-suite.ts'

export const create = (): Transport => sharedKafka({ url: process.env['BUSBAR_TEST_KAFKA'] ?? '' })
