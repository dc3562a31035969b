import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { TestContext } from 'vitest'
import { createAdmin } from '../../src/kafka/admin/admin.ts'
import type { Admin } from '../../src/kafka/admin/admin.ts'
import { Cluster } from '../../src/kafka/cluster/cluster.ts'
import { errorFromBroker } from '../../src/kafka/errors.ts'
import { encodeAssignment, encodeSubscription } from '../../src/kafka/protocol/embedded.ts'
import { waitFor } from '../../tools/brokers/index.ts'
import { batchOf } from '../unit/kafka/sim/batch.ts'
import { addressesOf, useKafka } from './kafka-broker.ts'

const SOON = { timeoutMs: 10_000 }

const kafka = useKafka({ secure: true })
let cluster: Cluster | undefined

beforeAll(() => {
  const { started } = kafka
  if (started !== undefined) cluster = new Cluster({ brokers: addressesOf(started), clientId: 'test' })
})

afterAll(() => cluster?.close())

function setUp(context: TestContext): { readonly admin: Admin; readonly cluster: Cluster } {
  kafka.of(context)
  if (cluster === undefined) throw new Error('no broker was started')
  return { admin: createAdmin(cluster), cluster }
}

/** A topic with `count` records in its first partition. */
async function topicWith(admin: Admin, connected: Cluster, name: string, count: number): Promise<void> {
  await admin.topics.create([{ name, partitions: 2, replicationFactor: 1 }])
  const tracked = connected.track()
  tracked.add(name)
  await connected.retry('a produce request', async () => {
    const { leader } = await connected.leader(name, 0)
    const { id = '' } = await connected.topic(name)
    const records = batchOf(Array.from({ length: count }, (_, index) => `v${index}`))
    const topicData = [{ name, topicId: id, partitionData: [{ index: 0, records }] }]
    await connected.send(leader, 'Produce', { acks: -1, timeoutMs: 5_000, topicData })
  })
  tracked.release()
}

describe('the admin client', () => {
  test('makes, describes, grows and deletes topics', { timeout: 60_000 }, async (context) => {
    const { admin } = setUp(context)
    await admin.topics.create([{ name: 'made', partitions: 2, configs: { 'retention.ms': '60000' } }])
    await waitFor(async () => (await admin.topics.list()).includes('made'), SOON)
    const [made] = await admin.topics.describe(['made'])
    expect(made).toMatchObject({ name: 'made', isInternal: false, partitions: [{ index: 0, leader: 1 }, { index: 1 }] })
    const refused = await admin.topics.create([{ name: 'made' }, { name: 'also' }]).catch((error: unknown) => error)
    expect(refused).toMatchObject({ name: 'PartialFailureError', code: 'TOPIC_ALREADY_EXISTS' })
    expect([...(refused as { failures: Map<string, unknown> }).failures.keys()]).toEqual(['made'])
    await expect(admin.topics.create([{ name: 'no spaces' }])).rejects.toMatchObject({
      code: 'INVALID_TOPIC_EXCEPTION',
    })
    await admin.topics.create([{ name: 'never' }], { validateOnly: true })
    expect(await admin.topics.list()).not.toContain('never')
    await admin.topics.addPartitions({ made: 4 })
    const count = async () => (await admin.topics.describe(['made']))[0]?.partitions.length
    await waitFor(async () => (await count()) === 4, SOON)
    expect(await count()).toBe(4)
    await admin.topics.delete(['made', 'also'])
    // Brokers hear of what the controller has done a moment later.
    const describeIt = () =>
      admin.topics.describe(['made']).then(
        () => undefined,
        (error: unknown) => error,
      )
    expect(await waitFor(describeIt, SOON)).toMatchObject({ code: 'UNKNOWN_TOPIC_OR_PARTITION', action: 'fatal' })
  })

  test('rejects what is asked of a topic that does not exist', { timeout: 60_000 }, async (context) => {
    const { admin } = setUp(context)
    const nothing = { type: 'topic', name: 'nothing' } as const
    const calls = [
      () => admin.topics.delete(['nothing']),
      () => admin.topics.addPartitions({ nothing: 2 }),
      () => admin.configs.alter(nothing, { set: { 'retention.ms': '5000' } }),
      () => admin.cluster.electLeaders([{ topic: 'nothing', partition: 0 }]),
      () => admin.cluster.reassign([{ topic: 'nothing', partition: 0, replicas: [1] }]),
    ]
    for (const call of calls) {
      await expect(call(), String(call)).rejects.toMatchObject({
        code: 'UNKNOWN_TOPIC_OR_PARTITION',
        action: 'fatal',
        outcome: 'rejected',
        message: expect.stringMatching(/^\S+.*nothing.* failed with .*: the cluster has no such topic or partition$/),
      })
    }
  })

  test('reads and changes configs', { timeout: 60_000 }, async (context) => {
    const { admin } = setUp(context)
    await admin.topics.create([{ name: 'configured' }])
    const topic = { type: 'topic', name: 'configured' } as const
    await admin.configs.alter(topic, { set: { 'retention.ms': '5000' }, append: { 'cleanup.policy': 'compact' } })
    const read = async () => {
      const entries = await admin.configs.describe(topic, ['retention.ms', 'cleanup.policy', 'segment.ms'])
      return Object.fromEntries(entries.map(({ name, value, isDefault }) => [name, [value, isDefault]]))
    }
    await waitFor(async () => (await read())['retention.ms']?.[0] === '5000', SOON)
    expect(await read()).toMatchObject({ 'retention.ms': ['5000', false], 'segment.ms': ['604800000', true] })
    await admin.configs.alter(topic, { delete: ['retention.ms'] })
    await waitFor(async () => (await read())['retention.ms']?.[1], SOON)
    expect((await read())['retention.ms']).toEqual(['604800000', true])
    expect((await admin.configs.describe({ type: 'broker', name: '1' })).length).toBeGreaterThan(100)
    await expect(admin.configs.alter(topic, { set: { nonsense: '1' } })).rejects.toMatchObject({
      code: 'INVALID_CONFIG',
    })
  })

  test('finds and deletes records', { timeout: 60_000 }, async (context) => {
    const { admin, cluster: connected } = setUp(context)
    await topicWith(admin, connected, 'logged', 10)
    const offsets = async (...all: Parameters<Admin['records']['offsets']>) =>
      (await admin.records.offsets(...all)).map(({ offset }) => offset)
    expect(await offsets('logged', 'latest')).toEqual([10, 0])
    expect(await offsets('logged', { timestampMs: 500 })).toEqual([0, -1])
    expect(await admin.records.deleteBefore('logged', { 0: 4 })).toEqual([{ partition: 0, offset: 4 }])
    expect(await offsets('logged', 'earliest')).toEqual([4, 0])
    expect((await admin.cluster.logDirs()).flatMap(({ replicas }) => replicas.map(({ topic }) => topic))).toContain(
      'logged',
    )
  })

  test('describes classic and new groups, moves their offsets, deletes them', { timeout: 60_000 }, async (context) => {
    const { admin, cluster: connected } = setUp(context)
    await topicWith(admin, connected, 'grouped', 10)
    await admin.offsets.reset('classic', ['grouped'], 'latest')
    const list = async () =>
      (await admin.offsets.list('classic')).map(({ partition, offset }) => `${partition}: ${offset}`)
    expect((await list()).toSorted()).toEqual(['0: 10', '1: 0'])
    await admin.offsets.alter('classic', [{ topic: 'grouped', partition: 0, offset: 7, metadata: 'm' }])
    expect(await admin.offsets.list('classic')).toContainEqual(
      expect.objectContaining({ partition: 0, offset: 7, metadata: 'm' }),
    )
    const partitions = [
      { topic: 'grouped', partition: 1 },
      { topic: 'none', partition: 0 },
    ]
    expect(await admin.offsets.list('classic', { partitions })).toMatchObject([{ topic: 'grouped', partition: 1 }])
    await admin.offsets.delete('classic', [{ topic: 'grouped', partition: 1 }])
    expect(await list()).toEqual(['0: 7'])

    const group = connected.connections({ purpose: 'group' })
    const at = { type: 'group', key: 'classic' } as const
    const subscription = { topics: ['grouped'], userData: null, ownedPartitions: [], generationId: -1, rackId: null }
    const join = {
      groupId: 'classic',
      sessionTimeoutMs: 10_000,
      rebalanceTimeoutMs: 5_000,
      memberId: '',
      groupInstanceId: 'one',
      protocolType: 'consumer',
      protocols: [{ name: 'range', metadata: encodeSubscription(subscription) }],
    }
    const { memberId, generationId } = (await connected.coordinators.send(group, at, 'JoinGroup', join)).response
    const assignment = encodeAssignment({
      assignedPartitions: [{ topic: 'grouped', partitions: [0, 1] }],
      userData: null,
    })
    const sync = {
      groupId: 'classic',
      generationId,
      memberId,
      groupInstanceId: 'one',
      protocolType: 'consumer',
      protocolName: 'range',
      assignments: [{ memberId, assignment }],
    }
    await connected.coordinators.send(group, at, 'SyncGroup', sync)
    expect(await admin.groups.describe('classic')).toMatchObject({
      type: 'classic',
      state: 'Stable',
      assignor: 'range',
      members: [
        { memberId, instanceId: 'one', clientId: 'test', assignment: [{ topic: 'grouped', partitions: [0, 1] }] },
      ],
    })
    await expect(admin.groups.delete(['classic'])).rejects.toMatchObject({ code: 'NON_EMPTY_GROUP' })
    const refused = { name: 'KafkaError', code: 'NON_EMPTY_GROUP', outcome: 'rejected' }
    await expect(admin.offsets.reset('classic', ['grouped'], 'earliest')).rejects.toMatchObject(refused)

    const member = { groupId: 'new', memberId: 'AAAAAAAAAAAAAAAAAAAAAQ', memberEpoch: 0, rebalanceTimeoutMs: 5_000 }
    const heartbeat = { ...member, subscribedTopicNames: ['grouped'], topicPartitions: [] }
    await connected.coordinators.send(group, { type: 'group', key: 'new' }, 'ConsumerGroupHeartbeat', heartbeat)
    expect(await admin.groups.describe('new')).toMatchObject({
      type: 'consumer',
      members: [{ memberId: member.memberId }],
    })
    await expect(admin.offsets.reset('new', ['grouped'], 'earliest')).rejects.toMatchObject(refused)
    const listed = (await admin.groups.list()).map(({ groupId, type }) => `${groupId}: ${type}`)
    expect(listed.toSorted()).toEqual(['classic: classic', 'new: consumer'])
    await connected.coordinators.send(group, at, 'LeaveGroup', {
      groupId: 'classic',
      memberId: '',
      members: [{ memberId: '', groupInstanceId: 'one' }],
    })
    await admin.groups.delete(['classic'])
    await expect(admin.groups.describe('classic')).rejects.toMatchObject({ code: 'GROUP_ID_NOT_FOUND' })
    group.close()
  })

  test('manages access rules, users and quotas', { timeout: 60_000 }, async (context) => {
    const { admin } = setUp(context)
    const acl = { resourceType: 'topic', resourceName: 'secret', principal: 'User:bob', operation: 'read' } as const
    await admin.acls.create([acl])
    const full = { ...acl, patternType: 'literal', host: '*', permission: 'allow' }
    await waitFor(async () => (await admin.acls.list({ principal: 'User:bob' })).length === 1, SOON)
    expect(await admin.acls.list({ principal: 'User:bob' })).toEqual([full])
    expect(await admin.acls.delete({ resourceType: 'topic', resourceName: 'secret' })).toEqual([full])
    await waitFor(async () => (await admin.acls.list({ principal: 'User:bob' })).length === 0, SOON)
    expect(await admin.acls.list({ principal: 'User:bob' })).toEqual([])

    await admin.users.set('bob', 'scram-sha-256', 'bob-secret', { iterations: 4_096 })
    await waitFor(async () => (await admin.users.list(['bob'])).length === 1, SOON)
    expect(await admin.users.list(['bob', 'nobody'])).toEqual([
      { user: 'bob', mechanism: 'scram-sha-256', iterations: 4_096 },
    ])
    const port = kafka.of(context).listeners.saslPlaintext ?? ''
    const asBob = new Cluster({
      brokers: [port],
      sasl: { mechanism: 'scram-sha-256', credentials: { username: 'bob', password: 'bob-secret' } },
    })
    await asBob.retry('a login', () => asBob.refresh(), { timeoutMs: 10_000 })
    asBob.close()
    await admin.users.delete('bob', 'scram-sha-256')
    await expect(admin.users.delete('bob', 'scram-sha-256')).rejects.toMatchObject({ code: 'RESOURCE_NOT_FOUND' })

    await admin.quotas.alter(
      { user: 'bob', 'client-id': null },
      { producer_byte_rate: 1_000, consumer_byte_rate: 2_000 },
    )
    await admin.quotas.alter({ user: 'bob', 'client-id': null }, { producer_byte_rate: null })
    const quotas = async () => (await admin.quotas.list({ user: 'bob' }))[0]?.values ?? {}
    await waitFor(async () => !('producer_byte_rate' in (await quotas())), SOON)
    expect(await admin.quotas.list({ user: 'bob' })).toEqual([
      { entity: { user: 'bob', 'client-id': null }, values: { consumer_byte_rate: 2_000 } },
    ])
  })

  test('shows transactions and ends those that hang', { timeout: 60_000 }, async (context) => {
    const { admin, cluster: connected } = setUp(context)
    await topicWith(admin, connected, 'transacted', 1)
    const at = { type: 'transaction', key: 'hanging' } as const
    const own = connected.connections({ purpose: 'data' })
    const init = await connected.retry('InitProducerId', async () => {
      const body = { transactionalId: 'hanging', transactionTimeoutMs: 60_000 }
      const { response } = await connected.coordinators.send(own, at, 'InitProducerId', body)
      if (response.errorCode !== 0) throw errorFromBroker(response.errorCode, 'InitProducerId')
      return response
    })
    const { producerId, producerEpoch } = init
    const [info] = await admin.topics.describe(['transacted'])
    const records = batchOf(['x'], { producerId, producerEpoch, baseSequence: 0, isTransactional: true })
    const topicData = [{ topicId: info?.id ?? '', partitionData: [{ index: 0, records }] }]
    await own.send(1, 'Produce', { transactionalId: 'hanging', acks: -1, timeoutMs: 5_000, topicData })
    expect(await admin.transactions.list({ states: ['Ongoing'] })).toEqual([
      { transactionalId: 'hanging', producerId, state: 'Ongoing' },
    ])
    expect(await admin.transactions.describe('hanging')).toMatchObject({
      producerId,
      state: 'Ongoing',
      partitions: [{ topic: 'transacted', partitions: [0] }],
    })
    const [producer] = (await admin.transactions.producers('transacted', 0)).filter(
      (each) => each.producerId === producerId,
    )
    expect(producer?.transactionStartOffset).toBe(1)
    const ends = async () => (await admin.records.offsets('transacted', 'latest', { committed: true }))[0]?.offset
    expect(await ends()).toBe(1)
    await admin.transactions.abort('transacted', 0, producer ?? (init as never))
    expect(await ends()).toBe(3)
    await expect(admin.transactions.describe('none')).rejects.toMatchObject({ code: 'TRANSACTIONAL_ID_NOT_FOUND' })
    own.close()
  })

  test('describes the cluster, elects leaders, lists moves', { timeout: 60_000 }, async (context) => {
    const { admin } = setUp(context)
    await admin.topics.create([{ name: 'elected' }])
    expect(await admin.cluster.describe()).toMatchObject({ controllerId: 1, brokers: [{ id: 1 }] })
    await admin.cluster.electLeaders([{ topic: 'elected', partition: 0 }])
    await admin.cluster.reassign([{ topic: 'elected', partition: 0, replicas: [1] }])
    expect(await admin.cluster.reassignments()).toEqual([])
    await expect(admin.cluster.reassign([{ topic: 'elected', partition: 0, replicas: null }])).rejects.toMatchObject({
      code: 'NO_REASSIGNMENT_IN_PROGRESS',
    })
  })
})
