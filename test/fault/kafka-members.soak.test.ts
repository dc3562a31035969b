import { setTimeout as delay } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { createAdmin } from '../../src/kafka/admin/admin.ts'
import { waitFor } from '../../tools/brokers/index.ts'
import { readValues } from '../integration/kafka-reader.ts'
import { addressesOf, useKafka } from '../integration/kafka-broker.ts'
import { flowRow, recordKafkaFault } from './kafka-fault-report.ts'
import { KafkaFlow } from './kafka-flow.ts'
import { nodeOf, untilServing } from './kafka-nodes.ts'
import { KafkaWorkers } from './kafka-workers.ts'

const STALL_LIMIT_MS = 10_000
const RIGHT = { failed: 0, unknown: 0, lost: 0, doubled: 0, untrue: 0, unhandled: 0, reordered: 0 }
/** How long the group waits for a member that was killed: within the limit, so that a stall is the client's. */
const SESSION_MS = 6_000
/** Longer than the interval of heartbeats. */
const SLOW_MS = 5_000
const PARTITIONS = 6
const CHAIN_RECORDS = Number(process.env['BUSBAR_KAFKA_CHAIN_RECORDS'] ?? 500_000)

const kafka = useKafka({ nodes: 3 })

test.for(['classic', 'consumer'] as const)(
  'members of a %s group that come and go during slow handlers repeat nothing',
  { timeout: 300_000 },
  async (protocol, context) => {
    const flow = new KafkaFlow({
      topic: `slow-${protocol}`,
      client: { brokers: addressesOf(kafka.of(context)) },
      consumer: { protocol },
      perSecond: 100,
      handlerMs: () => (Math.random() < 0.02 ? SLOW_MS : Math.random() * 200),
    })
    try {
      await flow.createTopic()
      await flow.start(2)
      for (let change = 0; change < 20; change++) {
        await delay(2_500)
        const [oldest] = flow.members
        if (flow.members.length < 4) flow.join()
        else if (oldest !== undefined) await flow.leave(oldest)
      }
      const report = await flow.finish()
      console.log(`${protocol}, members come and go: ${JSON.stringify(report)}`)
      const fault = 'members come and go during slow handlers'
      recordKafkaFault(kafka.of(context).version, flowRow(fault, protocol, report))
      expect(flow.problems).toEqual([])
      expect(report).toMatchObject({ ...RIGHT, handledAgain: 0 })
      // A partition moves when what its former member was given has ended: after a slow handler, another may have begun. Stalls
      // of 12 s were seen, which the client can't shorten.
      expect(report.consumeStallMs).toBeLessThan(STALL_LIMIT_MS + 2 * SLOW_MS)
    } finally {
      await flow.abandon()
    }
  },
)

test(
  'members that are killed lose nothing, and repeat only what they had not committed',
  { timeout: 300_000 },
  async (context) => {
    const { version } = kafka.of(context)
    const brokers = addressesOf(kafka.of(context))
    const flow = new KafkaFlow({ topic: 'members', client: { brokers }, perSecond: 300 })
    const handled = new Map<string, number>()
    const workers = new KafkaWorkers(
      () => ({ brokers, topic: flow.topic, group: flow.group, sessionTimeoutMs: SESSION_MS, handlerMs: 20 }),
      ({ handled: id }) => void handled.set(id, (handled.get(id) ?? 0) + 1),
    )
    try {
      await flow.createTopic()
      workers.start(3)
      const sending = flow.send()
      expect(await waitFor(() => handled.size > 500, { timeoutMs: 60_000 })).toBe(true)
      for (let kill = 0; kill < 12; kill++) {
        await workers.kill(kill % 3)
        await delay(4_000)
      }
      await flow.stopSending()
      await sending
      const confirmed = [...flow.outcomes].filter(([, outcome]) => outcome === 'confirmed').map(([id]) => String(id))
      await waitFor(() => confirmed.every((id) => handled.has(id)), { timeoutMs: 60_000 })
      const repeated = [...handled.values()].reduce((sum, times) => sum + times - 1, 0)
      console.log(
        `members killed ${workers.killed} times: ${confirmed.length} confirmed, ${handled.size} handled, ${repeated} again`,
      )
      const lost = confirmed.filter((id) => !handled.has(id))
      recordKafkaFault(version, {
        fault: `members are killed, ${workers.killed} times`,
        group: 'classic',
        confirmed: confirmed.length,
        unknown: flow.outcomes.size - confirmed.length,
        lost: lost.length,
        duplicated: 0,
        outOfOrder: 0,
        untrue: 0,
        handledAgain: repeated,
      })
      expect(lost).toEqual([])
      expect(workers.failures).toEqual([])
      // A second between commits, and what is in flight.
      expect(repeated / workers.killed).toBeLessThan(600)
    } finally {
      await workers.close()
      await flow.abandon()
    }
  },
)

test(
  `a chain of transactions counts each of ${CHAIN_RECORDS} records once, whoever is killed`,
  { timeout: 1_800_000 },
  async (context) => {
    const broker = kafka.of(context)
    const brokers = addressesOf(broker)
    const flow = new KafkaFlow({ topic: 'chain-0', client: { brokers } })
    const topics = ['chain-0', 'chain-1', 'chain-2']
    const stages = [0, 1].map(
      (stage) =>
        new KafkaWorkers(
          (slot) => ({
            brokers,
            topic: topics[stage] ?? '',
            group: `chain-${stage}`,
            sessionTimeoutMs: SESSION_MS,
            copyTo: { topic: topics[stage + 1] ?? '', transactionalId: `chain-${stage}-${slot}` },
          }),
          () => {},
        ),
    )
    try {
      for (const name of topics) {
        const topic = { name, numPartitions: PARTITIONS, replicationFactor: 3, assignments: [], configs: [] }
        await flow.cluster.sendToAny('CreateTopics', { topics: [topic], validateOnly: false, timeoutMs: 10_000 })
      }
      for (let from = 0; from < CHAIN_RECORDS; from += 1_000) {
        const records = Array.from({ length: Math.min(1_000, CHAIN_RECORDS - from) }, (_, index) => ({
          value: String(from + index),
          partition: (from + index) % PARTITIONS,
        }))
        await flow.producer.sendMany('chain-0', records)
      }
      for (const stage of stages) stage.start(2)
      const admin = createAdmin(flow.cluster)
      const left = async () => {
        const done = (await admin.offsets.list('chain-0')).reduce((sum, { offset }) => sum + Math.max(0, offset), 0)
        return CHAIN_RECORDS - done
      }
      for (let turn = 0; (await left()) > 0; turn++) {
        // Each group has time to give up the one that was killed: else it would never work.
        await delay(SESSION_MS / 2 + Math.random() * 2_000)
        await stages[turn % 2]?.kill(Math.floor(Math.random() * 2))
        if (turn % 4 !== 2) continue
        const node = nodeOf(broker, 1 + (turn % 3))
        await node.kill()
        await delay(5_000)
        await node.restart()
        await untilServing(broker.nodes, topics, { inSync: 3 })
      }
      const count = async () => {
        const times = new Map<string, number>()
        for (let partition = 0; partition < PARTITIONS; partition++) {
          for (const value of await readValues(flow.cluster, 'chain-2', 1, partition)) {
            times.set(value, (times.get(value) ?? 0) + 1)
          }
        }
        return times
      }
      let times = await count()
      await waitFor(async () => (times = await count()).size === CHAIN_RECORDS, {
        timeoutMs: 120_000,
        intervalMs: 2_000,
      })
      const killed = stages.reduce((sum, stage) => sum + stage.killed, 0)
      const ended = stages.flatMap((stage) => stage.failures)
      const repeated = [...times.values()].filter((each) => each > 1).length
      console.log(
        `chain: ${times.size} of ${CHAIN_RECORDS}, ${repeated} more than once; ${killed} killed, ${ended.length} ended by themselves`,
      )
      recordKafkaFault(broker.version, {
        fault: `a chain of transactions: ${killed} processes killed, and brokers`,
        group: 'classic',
        confirmed: CHAIN_RECORDS,
        unknown: 0,
        lost: CHAIN_RECORDS - times.size,
        duplicated: repeated,
        outOfOrder: 0,
        untrue: 0,
        handledAgain: 0,
      })
      expect([times.size, repeated]).toEqual([CHAIN_RECORDS, 0])
    } finally {
      await Promise.all(stages.map((stage) => stage.close()))
      await flow.abandon()
    }
  },
)
