import { describe, expect, it } from 'vitest'
import { Cluster } from '../../../src/kafka/cluster/cluster.ts'
import type { Connections } from '../../../src/kafka/cluster/connections.ts'
import type { ApiName, Requests } from '../../../src/kafka/protocol/generated/api-types.ts'
import { decodeRecords } from '../../../src/kafka/records/decode-records.ts'
import { scanBatches } from '../../../src/kafka/records/record-batch.ts'
import { batchOf } from './sim/batch.ts'
import { SimCluster } from './sim/sim-cluster.ts'
import type { SimOptions } from './sim/sim-cluster.ts'

/** A cluster of one broker, and requests to it as they are. */
async function broker(options: SimOptions = {}) {
  const sim = new SimCluster({ brokers: 1, ...options })
  const cluster = new Cluster(sim.clientOptions())
  await sim.run(cluster.refresh())
  const { id } = sim.createTopic('t', 2)
  const ask = async <N extends ApiName>(name: N, body: Requests[N], from: Pick<Connections, 'send'> = cluster) =>
    (await sim.run(from.send(1, name, body))).response
  const produce = async (
    values: readonly string[],
    producerId: bigint,
    epoch: number,
    sequence: number,
    transactionalId?: string,
  ) => {
    const stamp = {
      producerId,
      producerEpoch: epoch,
      baseSequence: sequence,
      isTransactional: transactionalId !== undefined,
    }
    const { responses } = await ask('Produce', {
      ...(transactionalId === undefined ? {} : { transactionalId }),
      acks: -1,
      timeoutMs: 1_000,
      topicData: [{ topicId: id, partitionData: [{ index: 0, records: batchOf(values, stamp) }] }],
    })
    const { errorCode = -1, baseOffset = -1 } = responses[0]?.partitionResponses[0] ?? {}
    return [errorCode, baseOffset]
  }
  return { sim, cluster, id, ask, produce }
}

function fetchOf(topicId: string, offset: number, more: Partial<Requests['Fetch']> = {}): Requests['Fetch'] {
  return {
    maxWaitMs: 500,
    minBytes: 1,
    isolationLevel: 0,
    sessionId: 0,
    sessionEpoch: -1,
    rackId: '',
    topics: [{ topicId, partitions: [{ partition: 0, fetchOffset: offset, partitionMaxBytes: 100_000 }] }],
    ...more,
  }
}

function valuesOf(records: Buffer | null | undefined): (string | null)[] {
  return scanBatches(records ?? Buffer.alloc(0))
    .filter(({ isControl }) => !isControl)
    .flatMap((batch) => decodeRecords(batch).map(({ valueText }) => valueText))
}

describe('a simulated partition', () => {
  it('takes each batch of an idempotent producer once, and remembers five', async () => {
    const { produce, sim } = await broker()
    expect(await produce(['a', 'b'], 7n, 0, 0)).toEqual([0, 0])
    expect(await produce(['a', 'b'], 7n, 0, 0)).toEqual([0, 0])
    expect(await produce(['d'], 7n, 0, 3)).toEqual([45, -1])
    expect(await produce(['c'], 7n, 0, 2)).toEqual([0, 2])
    for (let sequence = 3; sequence < 8; sequence++) await produce(['x'], 7n, 0, sequence)
    expect(await produce(['c'], 7n, 0, 2)).toEqual([45, -1])
    expect(await produce(['x'], 7n, 0, 3)).toEqual([0, 3])
    expect(await produce(['y'], 7n, 1, 5)).toEqual([45, -1])
    expect(await produce(['y'], 7n, 1, 0)).toEqual([0, 8])
    expect(await produce(['x'], 7n, 0, 8)).toEqual([47, -1])
    expect(sim.log('t').endOffset).toBe(9)
  })

  it('refuses damaged and oversized batches', async () => {
    const { ask, id, sim } = await broker()
    sim.topic('t').maxMessageBytes = 200
    const send = async (records: Buffer) => {
      const topicData = [{ topicId: id, partitionData: [{ index: 0, records }] }]
      return (await ask('Produce', { acks: 1, timeoutMs: 1, topicData })).responses[0]?.partitionResponses[0]?.errorCode
    }
    const damaged = batchOf(['a'])
    damaged.writeUInt8(damaged.readUInt8(damaged.length - 1) ^ 1, damaged.length - 1)
    expect([await send(damaged), await send(batchOf(['x'.repeat(200)])), await send(batchOf(['a']))]).toEqual([
      2, 10, 0,
    ])
  })

  it('finds offsets by time, and ends of epochs', async () => {
    const { ask, produce, sim } = await broker()
    await produce(['a'], 7n, 0, 0)
    sim.moveLeader('t', 0, 1)
    await produce(['b'], 7n, 0, 1)
    const offsetAt = async (timestamp: number) => {
      const topics = [{ name: 't', partitions: [{ partitionIndex: 0, timestamp }] }]
      const { topics: found } = await ask('ListOffsets', { replicaId: -1, topics })
      return found[0]?.partitions[0]?.offset
    }
    expect([await offsetAt(-1), await offsetAt(-2), await offsetAt(500), await offsetAt(5_000)]).toEqual([2, 0, 0, -1])
    const endOf = async (leaderEpoch: number) => {
      const topics = [{ topic: 't', partitions: [{ partition: 0, leaderEpoch }] }]
      return (await ask('OffsetForLeaderEpoch', { topics })).topics[0]?.partitions[0]
    }
    expect(await endOf(0)).toMatchObject({ leaderEpoch: 0, endOffset: 1 })
    expect(await endOf(5)).toMatchObject({ leaderEpoch: 1, endOffset: 2 })
  })
})

describe('simulated fetches', () => {
  it('wait for records, at most as long as they say', async () => {
    const { ask, produce, id, sim, cluster } = await broker()
    const start = sim.clock.now()
    expect((await ask('Fetch', fetchOf(id, 0))).responses[0]?.partitions[0]?.records).toHaveLength(0)
    expect(sim.clock.now() - start).toBeGreaterThanOrEqual(500)
    const own = cluster.connections({ purpose: 'fetch' })
    const waiting = own.send(1, 'Fetch', fetchOf(id, 0, { maxWaitMs: 100_000 }))
    await produce(['a'], 7n, 0, 0)
    const { response } = await sim.run(waiting)
    expect(valuesOf(response.responses[0]?.partitions[0]?.records)).toEqual(['a'])
    expect(sim.clock.now() - start).toBeLessThan(2_000)
  })

  it('answer a session about what is new', async () => {
    const { ask, produce, id, sim } = await broker()
    await produce(['a'], 7n, 0, 0)
    const first = await ask('Fetch', fetchOf(id, 0, { sessionEpoch: 0 }))
    expect(first.sessionId).toBeGreaterThan(0)
    const { sessionId } = first
    const next = fetchOf(id, 1, { sessionId, sessionEpoch: 1, maxWaitMs: 0 })
    expect((await ask('Fetch', next)).responses).toEqual([])
    expect((await ask('Fetch', next)).errorCode).toBe(71)
    await produce(['b'], 7n, 0, 1)
    const more = await ask('Fetch', { ...next, sessionEpoch: 2, topics: [] })
    expect(valuesOf(more.responses[0]?.partitions[0]?.records)).toEqual(['b'])
    sim.fetchSessions(1).evict()
    expect((await ask('Fetch', { ...next, sessionEpoch: 3 })).errorCode).toBe(70)
  })

  it('show where a log has diverged', async () => {
    const { ask, produce, id, sim } = await broker()
    for (let sequence = 0; sequence < 3; sequence++) await produce(['x'], 7n, 0, sequence)
    sim.truncate('t', 0, 1)
    await produce(['y'], 8n, 0, 0)
    const topics = [
      { topicId: id, partitions: [{ partition: 0, fetchOffset: 3, lastFetchedEpoch: 0, partitionMaxBytes: 1_000 }] },
    ]
    const { responses } = await ask('Fetch', fetchOf(id, 3, { topics }))
    expect(responses[0]?.partitions[0]?.divergingEpoch).toEqual({ epoch: 0, endOffset: 1 })
  })
})

describe.each([1, 2])('simulated transactions, version %i', (version) => {
  async function open() {
    const setUp = await broker({
      features: { 'transaction.version': version },
      maxVersions: version === 1 ? { Produce: 11, EndTxn: 4, TxnOffsetCommit: 4, Fetch: 12 } : {},
    })
    const { ask } = setUp
    const init = () => ask('InitProducerId', { transactionalId: 'x', transactionTimeoutMs: 10_000 })
    const { producerId, producerEpoch } = await init()
    const end = async (epoch: number, committed: boolean) =>
      ask('EndTxn', { transactionalId: 'x', producerId, producerEpoch: epoch, committed })
    return { ...setUp, init, producerId, producerEpoch, end }
  }

  it('are seen by readers of committed records when they are committed', async () => {
    const { ask, id, sim, end, producerId, producerEpoch } = await open()
    const stamp = { producerId, producerEpoch, baseSequence: 0, isTransactional: true }
    if (version === 1) {
      const v3AndBelowTopics = [{ name: 't', partitions: [0] }]
      const { resultsByTopicV3AndBelow } = (
        await sim.run(
          sendTo(sim, 'AddPartitionsToTxn', {
            v3AndBelowTransactionalId: 'x',
            v3AndBelowProducerId: producerId,
            v3AndBelowProducerEpoch: producerEpoch,
            v3AndBelowTopics,
          }),
        )
      ).response
      expect(resultsByTopicV3AndBelow[0]?.resultsByPartition).toEqual([{ partitionIndex: 0, partitionErrorCode: 0 }])
    }
    const topicData = [{ name: 't', topicId: id, partitionData: [{ index: 0, records: batchOf(['a'], stamp) }] }]
    const { responses } = await ask('Produce', { transactionalId: 'x', acks: -1, timeoutMs: 1_000, topicData })
    expect(responses[0]?.partitionResponses[0]?.errorCode).toBe(0)
    const committed = async () => {
      const topics = [
        { topic: 't', topicId: id, partitions: [{ partition: 0, fetchOffset: 0, partitionMaxBytes: 1_000 }] },
      ]
      return valuesOf(
        (await ask('Fetch', fetchOf(id, 0, { isolationLevel: 1, topics }))).responses[0]?.partitions[0]?.records,
      )
    }
    expect(await committed()).toEqual([])
    const ended = await end(producerEpoch, true)
    expect(ended).toMatchObject({ errorCode: 0, ...(version === 2 ? { producerEpoch: producerEpoch + 1 } : {}) })
    await sim.advance(100)
    expect(await committed()).toEqual(['a'])
    expect((await end(producerEpoch, true)).errorCode).toBe(0)
    expect((await end(producerEpoch + 5, true)).errorCode).toBe(90)
  })

  it('are aborted after their timeout, and their producer is fenced', async () => {
    const { ask, sim, end, init, producerId, producerEpoch } = await open()
    const body = { transactionalId: 'x', producerId, producerEpoch, groupId: 'g' }
    expect((await ask('AddOffsetsToTxn', body)).errorCode).toBe(0)
    await sim.advance(11_000)
    expect((await end(producerEpoch, true)).errorCode).toBe(version === 2 ? 48 : 90)
    const again = await init()
    expect(again).toMatchObject({ errorCode: 0, producerId })
    expect(again.producerEpoch).toBeGreaterThan(producerEpoch)
  })

  it('commit offsets with them', async () => {
    const { ask, sim, end, producerId, producerEpoch } = await open()
    const mine = { transactionalId: 'x', producerId, producerEpoch, groupId: 'g' }
    if (version === 1) await ask('AddOffsetsToTxn', mine)
    const partitions = [{ partitionIndex: 0, committedOffset: 5, committedMetadata: null }]
    const { topics } = await ask('TxnOffsetCommit', { ...mine, memberId: '', topics: [{ name: 't', partitions }] })
    expect(topics[0]?.partitions).toEqual([{ partitionIndex: 0, errorCode: 0 }])
    const fetch = async () => {
      const groups = [{ groupId: 'g', topics: [{ name: 't', topicId: sim.topic('t').id, partitionIndexes: [0] }] }]
      return (await ask('OffsetFetch', { groups, requireStable: true })).groups[0]?.topics[0]?.partitions[0]
    }
    expect(await fetch()).toMatchObject({ committedOffset: -1, errorCode: 88 })
    await end(producerEpoch, true)
    await sim.advance(100)
    expect(await fetch()).toMatchObject({ committedOffset: 5, errorCode: 0 })
  })
})

/** With an older version than the newest: what a client that is no broker may send. */
function sendTo<N extends ApiName>(sim: SimCluster, name: N, body: Requests[N]) {
  const cluster = new Cluster(sim.clientOptions())
  return cluster.refresh().then(() => cluster.send(1, name, body, { maxVersion: 3 }))
}

describe('simulated groups', () => {
  const join = (memberId: string, metadata = 'm', groupInstanceId: string | null = null) => ({
    groupId: 'g',
    sessionTimeoutMs: 10_000,
    rebalanceTimeoutMs: 5_000,
    memberId,
    groupInstanceId,
    protocolType: 'consumer',
    protocols: [{ name: 'range', metadata: Buffer.from(metadata) }],
  })

  async function joined(setUp: Awaited<ReturnType<typeof broker>>) {
    const { ask, cluster } = setUp
    const own = cluster.connections({ purpose: 'join' })
    const { memberId, errorCode } = await ask('JoinGroup', join(''), own)
    expect(errorCode).toBe(79)
    return { memberId, join: () => own.send(1, 'JoinGroup', join(memberId)) }
  }

  it('of the classic kind agree on a generation, and rebalance when a member comes or dies', async () => {
    const setUp = await broker()
    const { ask, sim } = setUp
    const a = await joined(setUp)
    const { response: first } = await sim.run(a.join())
    expect(first).toMatchObject({
      errorCode: 0,
      generationId: 1,
      leader: a.memberId,
      members: [{ memberId: a.memberId }],
    })
    const sync = (memberId: string, generationId: number, assignments: Requests['SyncGroup']['assignments'] = []) =>
      ask('SyncGroup', { groupId: 'g', generationId, memberId, assignments })
    const assignments = [{ memberId: a.memberId, assignment: Buffer.from('all') }]
    expect((await sync(a.memberId, 1, assignments)).assignment.toString()).toBe('all')
    const beat = async (memberId: string, generationId: number) =>
      (await ask('Heartbeat', { groupId: 'g', generationId, memberId })).errorCode
    expect([await beat(a.memberId, 1), await beat(a.memberId, 2), await beat('x', 1)]).toEqual([0, 22, 25])
    const b = await joined(setUp)
    const bJoins = b.join()
    await sim.advance(10)
    expect(await beat(a.memberId, 1)).toBe(27)
    const [{ response: second }] = await sim.run(Promise.all([a.join(), bJoins]))
    expect(second).toMatchObject({ errorCode: 0, generationId: 2, leader: a.memberId })
    expect(second.members).toHaveLength(2)
    await sim.advance(11_000)
    expect(sim.groups.classic('g')).toMatchObject({ state: 'empty', members: [] })
  })

  it('of the classic kind give a static member its place back without a rebalance', async () => {
    const { ask } = await broker()
    const first = await ask('JoinGroup', join('', 'm', 'a'))
    const { memberId, generationId } = first
    await ask('SyncGroup', {
      groupId: 'g',
      generationId,
      memberId,
      groupInstanceId: 'a',
      assignments: [{ memberId, assignment: Buffer.from('x') }],
    })
    const again = await ask('JoinGroup', join('', 'm', 'a'))
    expect(again).toMatchObject({ errorCode: 0, generationId, skipAssignment: true })
    const old = await ask('Heartbeat', { groupId: 'g', generationId, memberId, groupInstanceId: 'a' })
    expect(old.errorCode).toBe(82)
  })

  it('of KIP-848 move a partition only after its owner has given it up', async () => {
    const { ask, sim, id } = await broker()
    const beat = (
      memberId: string,
      memberEpoch: number,
      owned: number[] | null,
      more: Partial<Requests['ConsumerGroupHeartbeat']> = {},
    ) =>
      ask('ConsumerGroupHeartbeat', {
        groupId: 'g',
        memberId,
        memberEpoch,
        topicPartitions: owned === null ? null : owned.length === 0 ? [] : [{ topicId: id, partitions: owned }],
        ...more,
      })
    const start = { subscribedTopicNames: ['t'], rebalanceTimeoutMs: 5_000 }
    const partitions = (answer: Awaited<ReturnType<typeof beat>>) =>
      answer.assignment?.topicPartitions.flatMap((topic) => topic.partitions)
    expect(partitions(await beat('a', 0, [], start))).toEqual([0, 1])
    const b = await beat('b', 0, [], start)
    expect([b.errorCode, b.memberEpoch, partitions(b)]).toEqual([0, 2, []])
    const told = await beat('a', 1, [0, 1])
    expect([told.memberEpoch, partitions(told)?.length]).toEqual([1, 1])
    expect(partitions(await beat('b', 2, []))).toBeUndefined()
    const kept = partitions(told) ?? []
    expect((await beat('a', 1, kept)).memberEpoch).toBe(2)
    const given = partitions(await beat('b', 2, [])) ?? []
    expect(new Set([...kept, ...given])).toEqual(new Set([0, 1]))
    const commit = async (memberId: string, epoch: number) => {
      const topics = [{ topicId: id, partitions: [{ partitionIndex: 0, committedOffset: 3, committedMetadata: null }] }]
      const answer = await ask('OffsetCommit', { groupId: 'g', memberId, generationIdOrMemberEpoch: epoch, topics })
      return answer.topics[0]?.partitions[0]?.errorCode
    }
    expect([await commit('a', 1), await commit('a', 2), await commit('x', 2)]).toEqual([113, 0, 25])
    expect(sim.groups.offsets('g').get('t', 0)?.offset).toBe(3)
    sim.groups.consumer('g').fence('a')
    expect((await beat('a', 2, null)).errorCode).toBe(25)
  })
})
