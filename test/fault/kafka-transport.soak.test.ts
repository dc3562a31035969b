// A soak: two minutes, and a broker of its own.
import { kafka } from 'busbar/kafka'
import type { KafkaOptions } from 'busbar/kafka'
import { startPrivate } from '../../tools/brokers/index.ts'
import { QUICK, QUICK_PROPERTIES, through } from '../conformance/kafka-suite.ts'
import { faultSuite } from './fault-suite.ts'

interface Address {
  readonly host: string
  readonly port: number
}

/** The broker names its own address, and is reached at this one all the same. */
const create = (at: Address, options: KafkaOptions = {}): ReturnType<typeof kafka> =>
  kafka({ ...QUICK, brokers: [`${at.host}:${at.port}`], native: { client: { openSocket: through(at) } }, ...options })

faultSuite({
  name: 'kafka',
  start: () => startPrivate('kafka', { properties: QUICK_PROPERTIES }),
  create: (at) => create(at),
  impatient: (at) => create(at, { requestTimeoutMs: 1_500 }),
})
