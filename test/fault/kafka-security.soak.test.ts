import { setTimeout as delay } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { createAdmin } from '../../src/kafka/admin/admin.ts'
import type { Acl } from '../../src/kafka/admin/acls.ts'
import { Cluster } from '../../src/kafka/cluster/cluster.ts'
import type { SaslOptions } from '../../src/kafka/network/sasl/sasl.ts'
import { waitFor } from '../../tools/brokers/index.ts'
import { addressesOf, useKafka } from '../integration/kafka-broker.ts'
import { flowRow, recordKafkaFault } from './kafka-fault-report.ts'
import { KafkaFlow } from './kafka-flow.ts'

const STALL_LIMIT_MS = 10_000
const RIGHT = { lost: 0, doubled: 0, untrue: 0, unhandled: 0, reordered: 0 }
/** Of pauses between two confirmations of a partition, though connections authenticate again all the time (C11). */
const P99_LIMIT_MS = 500
const SESSION_MS = 5_000
const MINUTES = Number(process.env['BUSBAR_KAFKA_REAUTH_MINUTES'] ?? 1)
const ALICE = { username: 'alice', password: 'alice-secret' }

const kafka = useKafka({ nodes: 3, secure: { reauthMs: SESSION_MS } })

/** What the broker's default validator takes: no signature; as old as its session. */
function token(): { readonly token: string } {
  const seconds = Math.floor(Date.now() / 1_000)
  const encode = (part: object) => Buffer.from(JSON.stringify(part)).toString('base64url')
  return { token: `${encode({ alg: 'none' })}.${encode({ sub: 'admin', iat: seconds, exp: seconds + 5 })}.` }
}

const CREDENTIALS: Readonly<Record<string, SaslOptions>> = {
  'SCRAM sessions': { mechanism: 'scram-sha-256', credentials: { username: 'admin', password: 'admin-secret' } },
  'bearer tokens': { mechanism: 'oauthbearer', token },
}

test.for(Object.keys(CREDENTIALS))(
  'C11: %s of 5 s lose nothing under load',
  { timeout: 120_000 + MINUTES * 60_000 },
  async (name, context) => {
    const broker = kafka.of(context)
    const sasl = CREDENTIALS[name] as SaslOptions
    const topic = name.replaceAll(' ', '-')
    const flow = new KafkaFlow({
      topic,
      client: { brokers: [broker.listeners.saslPlaintext ?? ''], sasl },
      perSecond: 2_000,
    })
    try {
      await flow.createTopic()
      await flow.start(2)
      await delay(MINUTES * 60_000)
      const report = await flow.finish()
      console.log(`${name}: ${JSON.stringify(report)}`)
      recordKafkaFault(broker.version, flowRow(`${name} end every 5 s`, 'classic', report))
      expect(report).toMatchObject({ ...RIGHT, failed: 0, unknown: 0, handledAgain: 0 })
      expect(Math.max(report.produceStallMs, report.consumeStallMs)).toBeLessThan(STALL_LIMIT_MS)
      expect(report.producePauseP99Ms).toBeLessThan(P99_LIMIT_MS)
    } finally {
      await flow.abandon()
    }
  },
)

test(
  'a right that is taken away is an error at once, and work goes on when it is back',
  { timeout: 180_000 },
  async (context) => {
    const broker = kafka.of(context)
    const owner = new Cluster({ brokers: addressesOf(broker) })
    const admin = createAdmin(owner)
    const sasl: SaslOptions = { mechanism: 'scram-sha-512', credentials: ALICE }
    const flow = new KafkaFlow({ topic: 'guarded', client: { brokers: [broker.listeners.saslPlaintext ?? ''], sasl } })
    const principal = 'User:alice'
    const topic = { resourceType: 'topic', resourceName: flow.topic, principal } as const
    const rights: Record<'write' | 'read' | 'group', Acl> = {
      write: { ...topic, operation: 'write' },
      read: { ...topic, operation: 'read' },
      group: { resourceType: 'group', resourceName: flow.group, principal, operation: 'read' },
    }
    try {
      await admin.topics.create([{ name: flow.topic, partitions: flow.partitions, replicationFactor: 3 }])
      await admin.acls.create(Object.values(rights))
      // Brokers hear of rights a moment later.
      await waitFor(
        () =>
          flow.producer.send({ topic: flow.topic, value: '-1' }).then(
            () => true,
            () => false,
          ),
        { timeoutMs: 30_000 },
      )
      await flow.start(2)
      const confirmedAt = () => [...flow.outcomes.values()].filter((outcome) => outcome === 'confirmed').length

      await admin.acls.delete(rights.write)
      expect(await waitFor(() => [...flow.outcomes.values()].includes('rejected'), { timeoutMs: 10_000 })).toBe(true)
      flow.trouble()
      await admin.acls.create([rights.write])
      const before = confirmedAt()
      expect(await waitFor(() => confirmedAt() > before + 500, { timeoutMs: STALL_LIMIT_MS })).toBe(true)
      flow.healthy()

      await admin.acls.delete(rights.read)
      expect(await waitFor(() => flow.problems.length === 2, { timeoutMs: 20_000 })).toBe(true)
      for (const problem of flow.problems) expect(problem).toMatch(/TOPIC_AUTHORIZATION_FAILED/)
      flow.trouble()
      await admin.acls.create([rights.read])
      await Promise.all(flow.members.map((member) => flow.leave(member)))
      flow.join()
      await flow.progress(2_000, 30_000)
      const report = await flow.finish()
      console.log(`rights taken away: ${JSON.stringify(report)}`)
      recordKafkaFault(broker.version, flowRow('rights are taken away and given back', 'classic', report))
      expect(report).toMatchObject(RIGHT)
      expect(report.failed).toBeGreaterThan(0)
    } finally {
      await flow.abandon()
      owner.close()
    }
  },
)
