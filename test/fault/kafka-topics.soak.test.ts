import { setTimeout as delay } from 'node:timers/promises'
import { expect, test } from 'vitest'
import type { TestContext } from 'vitest'
import { createAdmin } from '../../src/kafka/admin/admin.ts'
import type { Admin } from '../../src/kafka/admin/admin.ts'
import { Cluster } from '../../src/kafka/cluster/cluster.ts'
import type { KafkaError } from '../../src/kafka/errors.ts'
import { waitFor } from '../../tools/brokers/index.ts'
import { addressesOf, useKafka } from '../integration/kafka-broker.ts'
import { flowRow, recordKafkaFault } from './kafka-fault-report.ts'
import { KafkaFlow } from './kafka-flow.ts'
import type { FlowOptions } from './kafka-flow.ts'

const STALL_LIMIT_MS = 10_000
/** So soon do clients hear of partitions that they have no other way to know of. */
const METADATA_MS = 5_000
const RIGHT = { failed: 0, unknown: 0, lost: 0, doubled: 0, untrue: 0, unhandled: 0, reordered: 0 }

const kafka = useKafka({
  nodes: 3,
  properties: { 'offsets.retention.minutes': '1', 'offsets.retention.check.interval.ms': '2000' },
})

async function withFlow(
  context: TestContext,
  options: Omit<FlowOptions, 'client'>,
  run: (flow: KafkaFlow, admin: Admin) => Promise<void>,
): Promise<void> {
  const client = { brokers: addressesOf(kafka.of(context)), metadataMaxAgeMs: METADATA_MS }
  const flow = new KafkaFlow({ ...options, client })
  const owner = new Cluster(client)
  try {
    await flow.createTopic()
    await run(flow, createAdmin(owner))
  } finally {
    await flow.abandon()
    owner.close()
  }
}

test('partitions added under load are read from their start', { timeout: 180_000 }, async (context) => {
  const consumer = { onReset: 'latest' } as const
  await withFlow(context, { topic: 'grown', partitions: 3, consumer }, async (flow, admin) => {
    await admin.offsets.reset(flow.group, [flow.topic], 'earliest')
    await flow.start(2)
    await admin.topics.addPartitions({ [flow.topic]: 9 })
    const hasGrown = () => flow.cluster.metadata.topic(flow.topic)?.partitions.length === 9
    await waitFor(hasGrown, { timeoutMs: 30_000 })
    flow.partitions = 9
    await delay(15_000)
    await flow.progress(2_000, 30_000)
    const report = await flow.finish()
    console.log(`partitions added: ${JSON.stringify(report)}`)
    recordKafkaFault(kafka.of(context).version, flowRow('partitions are added', 'classic', report))
    expect(report).toMatchObject(RIGHT)
    expect(Math.max(report.produceStallMs, report.consumeStallMs)).toBeLessThan(STALL_LIMIT_MS)
  })
})

test('a topic that is deleted and made again gets nothing of the old one', { timeout: 180_000 }, async (context) => {
  await withFlow(context, { topic: 'again' }, async (flow, admin) => {
    await flow.start(2)
    const lost: string[] = []
    for (const member of flow.members) member.on('lost', (_, reason) => void lost.push(reason))
    flow.trouble()
    await admin.topics.delete([flow.topic])
    await waitFor(async () => !(await admin.topics.list()).includes(flow.topic), { timeoutMs: 30_000 })
    await flow.createTopic()
    const settled = flow.outcomes.size
    const isConfirmed = () => [...flow.outcomes.values()].slice(settled).includes('confirmed')
    await waitFor(isConfirmed, { timeoutMs: 60_000 })
    const first = flow.sent
    flow.healthy()
    await delay(STALL_LIMIT_MS)
    await flow.progress(2_000, 30_000)
    const report = await flow.finish()
    console.log(`topic made again: ${JSON.stringify(report)}; ${lost.length} times lost`)
    // What was confirmed before is gone with the old topic; everything later is there, once, in order, and handled.
    const later = [...flow.outcomes].filter(([id, outcome]) => id >= first && outcome === 'confirmed').map(([id]) => id)
    expect(later.length).toBe(report.sent - first)
    expect(later.filter((id) => !flow.logged.has(id) || !flow.handled.has(id))).toEqual([])
    const deleted = report.confirmed - later.length
    const row = flowRow('the topic is deleted and recreated', 'classic', report, deleted)
    recordKafkaFault(kafka.of(context).version, row)
    expect(report).toMatchObject({ doubled: 0, untrue: 0, reordered: 0 })
    expect(lost).toContain('recreated')
    expect(Math.max(report.produceStallMs, report.consumeStallMs)).toBeLessThan(STALL_LIMIT_MS)
    const ends = new Map(
      (await admin.records.offsets(flow.topic, 'latest')).map(({ partition, offset }) => [partition, offset]),
    )
    for (const { partition, offset } of await admin.offsets.list(flow.group)) expect(offset).toBe(ends.get(partition))
  })
})

test('retention that passes the position is reported with what was missed', { timeout: 180_000 }, async (context) => {
  await withFlow(context, { topic: 'retained' }, async (flow, admin) => {
    await flow.start(1)
    const [member] = flow.members
    const partition = { topic: flow.topic, partition: 0 }
    const missed: { readonly from: number; readonly to: number }[] = []
    member?.on('reset', (_, offsets) => void missed.push(offsets))
    member?.pause([partition])
    await delay(5_000)
    const [end] = await admin.records.offsets(flow.topic, 'latest')
    await admin.records.deleteBefore(flow.topic, { 0: end?.offset ?? 0 })
    await delay(2_000)
    member?.resume([partition])
    await waitFor(() => missed.length > 0, { timeoutMs: 30_000 })
    await flow.progress(2_000, 30_000)
    const report = await flow.finish()
    console.log(`retention: ${JSON.stringify(report)}; ${JSON.stringify(missed)}`)
    const [reset] = missed
    expect(missed.length).toBe(1)
    const deleted = (reset?.to ?? 0) - (reset?.from ?? 0)
    const fault = `retention deletes ${deleted.toLocaleString('en')} unread records, which is reported`
    recordKafkaFault(kafka.of(context).version, flowRow(fault, 'classic', report, Math.max(deleted, report.lost)))
    expect(report.unhandled).toBe(deleted)
    expect(report).toMatchObject({ ...RIGHT, unhandled: report.unhandled, lost: report.lost })
  })
})

test('offsets that have expired are an error, or a start from the beginning', { timeout: 400_000 }, async (context) => {
  await withFlow(context, { topic: 'expired', perSecond: 200 }, async (flow, admin) => {
    await flow.start(1)
    await flow.progress(1_000, 30_000)
    await flow.stopSending()
    const [member] = flow.members
    await waitFor(() => flow.handled.size === flow.outcomes.size, { timeoutMs: 30_000 })
    if (member !== undefined) await flow.leave(member)
    expect(
      await waitFor(async () => (await admin.offsets.list(flow.group)).length === 0, {
        timeoutMs: 200_000,
        intervalMs: 1_000,
      }),
    ).toBe(true)
    const strict = flow.reader({ onReset: 'fail' })
    const error = await strict.next().catch((reason: KafkaError) => reason)
    expect(error).toMatchObject({ code: 'NO_OFFSET' })
    await strict.close()
    flow.join({ onReset: 'earliest' })
    await waitFor(() => [...flow.handled.values()].every((times) => times === 2), { timeoutMs: 60_000 })
    const report = await flow.finish()
    console.log(`offsets expired: ${JSON.stringify(report)}`)
    const fault = "the group's offsets expire, and it starts again"
    recordKafkaFault(kafka.of(context).version, flowRow(fault, 'classic', report))
    expect(report).toMatchObject({ ...RIGHT, handledAgain: report.sent })
  })
})
