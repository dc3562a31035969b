import type { Transport } from 'busbar'
import { kafka } from 'busbar/kafka'
import { QUICK } from './kafka-suite.ts'

export const create = (): Transport => kafka({ ...QUICK, url: process.env['BUSBAR_TEST_KAFKA'] ?? '' })
