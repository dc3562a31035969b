import * as vitest from 'vitest'
import type { Runner } from 'busbar/testing'
import { BrokerError, startPrivate } from '../../tools/brokers/index.ts'
import { unlessMissing } from '../integration/broker-helpers.ts'
import { kafkaConformance } from './kafka-conformance.ts'
import { QUICK_PROPERTIES } from './kafka-suite.ts'

// The whole suite takes four minutes, most of them waiting: for a JVM that starts again, and for the broker to end transactions whose
// connection or process was lost. Those scenarios are left to the soaks, and the rest of a group runs side by side.
const isWhole = process.env['BUSBAR_SOAK'] !== undefined

/** Scenarios that wait for a broker to come back, or for transactions in doubt. */
const SLOW =
  /^(transactions\/(exactly-once-)?(cut|restart|kill|pause)|reconnect\/(kill|restart)-under-load|reconnect\/delayed-survives|lifecycle\/start-waits)/

/** Groups whose scenarios disturb the broker, judge the whole process, or fill it. */
const ONE_BY_ONE = new Set(['reconnect', 'lifecycle', 'back-pressure', 'observability', 'bad-bytes', 'dead-letter'])

const quick: Runner = {
  ...vitest,
  it(...[name, options, body]: Parameters<Runner['it']>): void {
    const [group = ''] = name.split('/')
    if (!SLOW.test(name)) vitest.it(name, { ...options, concurrent: !ONE_BY_ONE.has(group) }, body)
  },
}

const broker = await unlessMissing(startPrivate('kafka', { properties: QUICK_PROPERTIES }))
if (broker instanceof BrokerError) vitest.test.skip(broker.message)
else await kafkaConformance(broker, { name: 'kafka', runner: isWhole ? vitest : quick })
