import { expect, test } from 'vitest'
import { Cluster } from '../../src/kafka/cluster/cluster.ts'
import type { Connections } from '../../src/kafka/cluster/connections.ts'
import type { ApiName, Requests, Responses } from '../../src/kafka/protocol/generated/api-types.ts'
import { encodeSubscription } from '../../src/kafka/protocol/embedded.ts'
import { batchOf } from '../unit/kafka/sim/batch.ts'
import { SimCluster } from '../unit/kafka/sim/sim-cluster.ts'
import { addressesOf, useKafka } from './kafka-broker.ts'

const kafka = useKafka({ properties: { 'transaction.abort.timed.out.transaction.cleanup.interval.ms': '200' } })

/** How a conversation is carried on with one broker, real or simulated. */
interface Talk {
  readonly topicId: string
  readonly ask: <N extends ApiName>(name: N, body: Requests[N], options?: AskOptions) => Promise<Responses[N]>
  readonly pause: (ms: number) => Promise<void>
  /** For requests that wait for each other. */
  readonly both: <T>(first: () => Promise<T>, second: () => Promise<T>) => Promise<readonly [T, T]>
}

interface AskOptions {
  readonly maxVersion?: number
  /** A connection of its own. */
  readonly on?: string
}

type Observed = readonly [what: string, seen: unknown]

/** Errors after which a client asks again. */
const PASSING = [14, 15, 16, 51]
const RETRY_MS = 20
const LIMIT_MS = 20_000

const RECORDS = ['a', 'b']

/** Everything that the simulation claims about idempotence, sessions, transactions, offsets and groups; what a broker answers. */
async function converse({ topicId, ask, both, pause }: Talk): Promise<readonly Observed[]> {
  const seen: Observed[] = []
  const until = async <T>(run: () => Promise<T>, isDone: (answer: T) => boolean): Promise<T> => {
    for (let waited = 0; ; waited += RETRY_MS) {
      const answer = await run()
      if (isDone(answer)) return answer
      if (waited > LIMIT_MS) throw new Error(`still after ${LIMIT_MS} ms: ${JSON.stringify(answer)}`)
      await pause(RETRY_MS)
    }
  }
  const note = (what: string, ...values: unknown[]): void => void seen.push([what, values])

  const produce = async (producerId: bigint, epoch: number, sequence: number, transactionalId?: string) => {
    const isTransactional = transactionalId !== undefined
    const records = batchOf(
      RECORDS,
      { producerId, producerEpoch: epoch, baseSequence: sequence, isTransactional },
      Date.now(),
    )
    const { responses } = await ask('Produce', {
      ...(isTransactional ? { transactionalId } : {}),
      acks: -1,
      timeoutMs: 5_000,
      topicData: [{ topicId, partitionData: [{ index: 0, records }] }],
    })
    const answer = responses[0]?.partitionResponses[0]
    return [answer?.errorCode, answer?.baseOffset]
  }
  const list = async (timestamp: number, isolationLevel = 0) => {
    const topics = [{ name: 'agreed', partitions: [{ partitionIndex: 0, timestamp }] }]
    return (await ask('ListOffsets', { replicaId: -1, isolationLevel, topics })).topics[0]?.partitions[0]?.offset
  }

  // Idempotence.
  // Coordinators load, transactions complete.
  const settled = <T extends { readonly errorCode: number }>(run: () => Promise<T>): Promise<T> =>
    until(run, ({ errorCode }) => !PASSING.includes(errorCode))
  const { producerId: pid } = await settled(() =>
    ask('InitProducerId', { transactionalId: null, transactionTimeoutMs: 1_000 }),
  )
  note('first', await produce(pid, 0, 0))
  note('duplicate', await produce(pid, 0, 0))
  note('gap', await produce(pid, 0, 6))
  for (let sequence = 2; sequence < 14; sequence += 2) note('next', await produce(pid, 0, sequence))
  note('duplicate in the window', await produce(pid, 0, 8))
  note('duplicate before the window', await produce(pid, 0, 2))
  note('new epoch, not from 0', await produce(pid, 1, 4))
  note('new epoch', await produce(pid, 1, 0))
  note('old epoch', await produce(pid, 0, 14))
  note('unknown producer, not from 0', await produce(pid + 5_000n, 0, 7))
  note(
    'unknown partition',
    (
      await ask('Produce', {
        acks: 1,
        timeoutMs: 1,
        topicData: [{ topicId, partitionData: [{ index: 9, records: batchOf(RECORDS) }] }],
      })
    ).responses[0]?.partitionResponses[0]?.errorCode,
  )
  note('ends', await list(-1), await list(-2), await list(Date.now() + 1e9))

  // Fetch sessions.
  const fetch = (
    sessionId: number,
    sessionEpoch: number,
    fetchOffset: number | undefined,
    more: Partial<Requests['Fetch']> = {},
  ) =>
    ask('Fetch', {
      maxWaitMs: 0,
      minBytes: 0,
      isolationLevel: 0,
      sessionId,
      sessionEpoch,
      rackId: '',
      topics:
        fetchOffset === undefined
          ? []
          : [{ topicId, partitions: [{ partition: 0, fetchOffset, partitionMaxBytes: 1_000_000 }] }],
      ...more,
    })
  const fetched = ({ errorCode, responses }: Responses['Fetch']) => [
    errorCode,
    responses.flatMap(({ partitions }) =>
      partitions.map((each) => [
        each.errorCode,
        each.highWatermark,
        each.lastStableOffset,
        (each.records?.length ?? 0) > 0,
        each.abortedTransactions?.length ?? null,
      ]),
    ),
  ]
  const opened = await fetch(0, 0, 0)
  const { sessionId } = opened
  note('session', sessionId > 0, fetched(opened))
  note('nothing new', fetched(await fetch(sessionId, 1, 18)))
  note('repeated epoch', fetched(await fetch(sessionId, 1, undefined)))
  note('unknown session', fetched(await fetch(123_456_789, 3, undefined)))
  note('without session', fetched(await fetch(0, -1, 17)))
  note('past the end', fetched(await fetch(0, -1, 1_000)))

  // Transactions.
  const init = (more: Partial<Requests['InitProducerId']> = {}) =>
    ask('InitProducerId', { transactionalId: 'agreed', transactionTimeoutMs: 20_000, ...more })
  const txn = await settled(() => init())
  const owner = { transactionalId: 'agreed', producerId: txn.producerId }
  const end = (producerEpoch: number, committed: boolean) =>
    settled(() => ask('EndTxn', { ...owner, producerEpoch, committed }))
  const epochs = ({
    errorCode,
    producerId,
    producerEpoch,
  }: {
    errorCode: number
    producerId: bigint
    producerEpoch: number
  }) => [errorCode, producerId === -1n ? -1n : producerId - txn.producerId, producerEpoch]
  note('transactional id', epochs(txn))
  note('commit of nothing', epochs(await end(0, true)))
  note('abort of nothing', epochs(await end(0, false)))
  const epoch = (await settled(() => init())).producerEpoch
  note('after init', epoch)
  const inTransaction = (at: number, sequence: number) =>
    until(
      () => produce(txn.producerId, at, sequence, 'agreed'),
      ([errorCode = -1]) => !PASSING.includes(errorCode),
    )
  note('in the transaction', await inTransaction(epoch, 0))
  note('of an old epoch', await produce(txn.producerId, epoch - 1, 0, 'agreed'))
  note('open', await list(-1), await list(-1, 1))
  const ended = await end(epoch, true)
  note('commit', epochs(ended))
  note('commit repeated', epochs(await end(epoch, true)))
  note('abort after commit', epochs(await end(epoch, false)))
  note('second', await inTransaction(ended.producerEpoch, 0))
  const aborted = await end(ended.producerEpoch, false)
  note('abort', epochs(aborted))
  note('third', await inTransaction(aborted.producerEpoch, 0))
  await end(aborted.producerEpoch, true)
  await settled(() => init())
  note('closed', await list(-1), await list(-1, 1))
  note('read committed', fetched(await fetch(0, -1, 18, { isolationLevel: 1 })))
  note('init of another', epochs(await settled(() => init({ producerId: txn.producerId, producerEpoch: 0 }))))

  // A transaction that its coordinator ends.
  const late = await settled(() => init({ transactionTimeoutMs: 1_000 }))
  note('late', (await inTransaction(late.producerEpoch, 0))[0])
  await until(
    () => list(-1, 1),
    (offset = 0) => offset > 27,
  )
  note(
    'after its timeout',
    (await end(late.producerEpoch, true)).errorCode,
    (await produce(txn.producerId, late.producerEpoch, 2, 'agreed'))[0],
  )
  note('recovered', (await settled(() => init())).errorCode)

  // Offsets.
  const group = { groupId: 'agreed' }
  const commit = async (memberId: string, generation: number, offset: number) => {
    const partitions = [{ partitionIndex: 0, committedOffset: offset, committedMetadata: 'm' }]
    const body = { ...group, memberId, generationIdOrMemberEpoch: generation, topics: [{ topicId, partitions }] }
    const { topics } = await ask('OffsetCommit', body)
    return topics[0]?.partitions[0]?.errorCode
  }
  const committed = async (requireStable = false) => {
    const groups = [{ ...group, topics: [{ topicId, partitionIndexes: [0, 1] }] }]
    const answer = (await ask('OffsetFetch', { groups, requireStable })).groups[0]
    return [
      answer?.errorCode,
      answer?.topics[0]?.partitions.map((each) => [each.committedOffset, each.metadata, each.errorCode]),
    ]
  }
  const isLoaded = (errorCode = -1) => !PASSING.includes(errorCode)
  note('commit without a group', await until(() => commit('', -1, 3), isLoaded))
  note('committed', await committed())
  const now = await settled(() => init())
  const txnCommit = async (producerEpoch: number, memberId = '') => {
    const partitions = [{ partitionIndex: 1, committedOffset: 8, committedMetadata: null }]
    const body = {
      ...group,
      ...owner,
      producerEpoch,
      memberId,
      generationId: -1,
      topics: [{ name: 'agreed', partitions }],
    }
    return (await ask('TxnOffsetCommit', body)).topics[0]?.partitions[0]?.errorCode
  }
  note('offsets of an old epoch', await txnCommit(now.producerEpoch - 1))
  note('offsets in a transaction', await txnCommit(now.producerEpoch))
  note('offsets of no member', await txnCommit(now.producerEpoch, 'nobody'))
  note('unstable', await committed(true))
  await end(now.producerEpoch, true)
  await settled(() => init())
  note('stable', await committed(true))

  // A classic group.
  const metadata = encodeSubscription({
    topics: ['agreed'],
    userData: null,
    ownedPartitions: [],
    generationId: -1,
    rackId: null,
  })
  const join = (memberId: string, on: string, groupInstanceId: string | null = null, name = 'range') =>
    ask(
      'JoinGroup',
      {
        ...group,
        sessionTimeoutMs: 10_000,
        rebalanceTimeoutMs: 5_000,
        memberId,
        groupInstanceId,
        protocolType: 'consumer',
        protocols: [{ name, metadata }],
      },
      { on },
    )
  const joined = (answer: Responses['JoinGroup']) => [
    answer.errorCode,
    answer.generationId,
    answer.protocolName,
    answer.members.length,
    answer.memberId === answer.leader,
  ]
  const sync = async (
    memberId: string,
    generationId: number,
    assignments: Requests['SyncGroup']['assignments'] = [],
    groupInstanceId: string | null = null,
  ) => {
    const answer = await ask('SyncGroup', {
      ...group,
      generationId,
      memberId,
      groupInstanceId,
      protocolType: 'consumer',
      protocolName: 'range',
      assignments,
    })
    return [answer.errorCode, answer.assignment.toString()]
  }
  const beat = async (memberId: string, generationId: number, groupInstanceId: string | null = null) =>
    (await ask('Heartbeat', { ...group, generationId, memberId, groupInstanceId })).errorCode
  const invited = await join('', 'a')
  note('join without id', joined(invited))
  const a = invited.memberId
  const first = await join(a, 'a')
  note('join', joined(first))
  note('heartbeat before sync', await beat(a, 1))
  note('commit before sync', await commit(a, 1, 4))
  note('sync', await sync(a, 1, [{ memberId: a, assignment: Buffer.from('all') }]))
  note('sync again', await sync(a, 1))
  note('heartbeats', await beat(a, 1), await beat(a, 0), await beat('x', 1))
  note('commits', await commit(a, 1, 4), await commit(a, 0, 4), await commit('x', 1, 4), await commit('', -1, 4))
  note('another protocol', joined(await join('', 'b', 'other', 'sticky')))
  note('unknown member', joined(await join('x', 'b')))
  const { memberId: b } = await join('', 'b')
  const [second, other] = await both(
    () => join(a, 'a'),
    () => join(b, 'b'),
  )
  note('rebalanced', joined(second), joined(other))
  const [mine, theirs] = await both(
    () =>
      sync(a, 2, [
        { memberId: a, assignment: Buffer.from('1') },
        { memberId: b, assignment: Buffer.from('2') },
      ]),
    () => sync(b, 2),
  )
  note('assigned', mine, theirs)
  note('old generation', await sync(a, 1), await beat(a, 1), await commit(a, 1, 5))
  note(
    'leave',
    (await ask('LeaveGroup', { ...group, memberId: '', members: [{ memberId: b }, { memberId: 'x' }] })).members.map(
      ({ errorCode }) => errorCode,
    ),
  )
  note('after a leave', await beat(a, 2), await commit(a, 2, 6), await sync(a, 2))
  note('alone', joined(await join(a, 'a')))
  note(
    'left',
    (await ask('LeaveGroup', { ...group, memberId: '', members: [{ memberId: a }] })).members.map(
      ({ errorCode }) => errorCode,
    ),
  )

  // A static member.
  const s1 = await join('', 'a', 'static')
  note('static join', joined(s1))
  await sync(s1.memberId, s1.generationId, [{ memberId: s1.memberId, assignment: Buffer.from('all') }], 'static')
  const s2 = await join('', 'b', 'static')
  note('static join again', joined(s2), s2.skipAssignment, s2.memberId !== s1.memberId)
  note('fenced', await beat(s1.memberId, s1.generationId, 'static'), await beat(s2.memberId, s2.generationId, 'static'))
  note('fenced join', joined(await join(s1.memberId, 'a', 'static')))
  note(
    'static leave',
    (
      await ask('LeaveGroup', { ...group, memberId: '', members: [{ memberId: '', groupInstanceId: 'static' }] })
    ).members.map(({ errorCode }) => errorCode),
  )

  // A group of KIP-848.
  const next = { groupId: 'agreed-848' }
  const start = { subscribedTopicNames: ['agreed'], rebalanceTimeoutMs: 30_000 }
  type Beat = Responses['ConsumerGroupHeartbeat']
  const consume = (
    memberId: string,
    memberEpoch: number,
    owned: readonly number[] | null,
    more: Partial<Requests['ConsumerGroupHeartbeat']> = {},
  ): Promise<Beat> =>
    settled(() =>
      ask('ConsumerGroupHeartbeat', {
        ...next,
        memberId,
        memberEpoch,
        topicPartitions: owned === null ? null : owned.length === 0 ? [] : [{ topicId, partitions: owned }],
        ...more,
      }),
    )
  const partitionsOf = (answer: Beat) =>
    answer.assignment?.topicPartitions.flatMap(({ partitions }) => partitions).toSorted((x, y) => x - y)
  /** A member that keeps to what it is told. */
  const member = (memberId: string) => {
    let epoch = 0
    let owned: readonly number[] = []
    let assigned: readonly number[] = []
    return {
      epoch: () => epoch,
      assigned: () => assigned,
      beat: async () => {
        const answer = await consume(memberId, epoch, owned, epoch === 0 ? start : {})
        if (answer.errorCode === 0) epoch = answer.memberEpoch
        assigned = partitionsOf(answer) ?? assigned
        return answer
      },
      takeOver: () => (owned = assigned),
    }
  }
  const m = 'AAAAAAAAAAAAAAAAAAAAAQ'
  const n = 'AAAAAAAAAAAAAAAAAAAAAg'
  const one = member(m)
  const two = member(n)
  // Brokers since 4.3 assign a moment later.
  await until(one.beat, () => one.assigned().length === 2)
  one.takeOver()
  note('848 unknown', (await consume('nobody', 3, [])).errorCode)
  note('848 ahead', (await consume(m, one.epoch() + 5, [0, 1])).errorCode)
  note('848 second', (await two.beat()).errorCode, two.assigned())
  await until(one.beat, () => one.assigned().length === 1)
  const epochBefore = one.epoch()
  for (let count = 0; count < 3; count++) await two.beat()
  note('848 not free before it is given up', two.assigned())
  one.takeOver()
  await until(one.beat, ({ memberEpoch }) => memberEpoch > epochBefore)
  await until(two.beat, () => two.assigned().length === 1)
  note(
    '848 taken',
    [...one.assigned(), ...two.assigned()].toSorted((x, y) => x - y),
  )
  const commit848 = async (memberId: string, memberEpoch: number) => {
    const partitions = [{ partitionIndex: 0, committedOffset: 1, committedMetadata: null }]
    const { topics } = await ask('OffsetCommit', {
      ...next,
      memberId,
      generationIdOrMemberEpoch: memberEpoch,
      topics: [{ topicId, partitions }],
    })
    return topics[0]?.partitions[0]?.errorCode
  }
  note(
    '848 commits',
    await commit848(m, 2),
    await commit848(m, 7),
    await commit848('nobody', 2),
    await commit848('', -1),
  )
  const fetchAs = async (memberId: string, memberEpoch: number) =>
    (
      await ask('OffsetFetch', {
        groups: [{ ...next, memberId, memberEpoch, topics: [{ topicId, partitionIndexes: [0] }] }],
        requireStable: true,
      })
    ).groups[0]?.errorCode
  note('848 fetches', await fetchAs(m, one.epoch()), await fetchAs(m, one.epoch() + 5), await fetchAs('nobody', 2))
  note('848 leave', (await consume(m, -1, null)).memberEpoch, (await consume(n, -1, null)).memberEpoch)
  note('848 gone', (await consume(m, 2, [0])).errorCode)
  return seen
}

/** Requests of one talk over connections of one cluster. */
function over(cluster: Cluster, run: <T>(promise: Promise<T>) => Promise<T>, topicId: string): Talk {
  const sets = new Map<string, Connections>()
  const setOf = (name: string) => {
    const set = sets.get(name) ?? cluster.connections({ purpose: name })
    sets.set(name, set)
    return set
  }
  let inBoth = false
  return {
    topicId,
    ask: async (name, body, { maxVersion, on = 'main' } = {}) => {
      const [nodeId = -1] = cluster.metadata.nodes.keys()
      const sending = setOf(on).send(nodeId, name, body, {
        waitMs: 10_000,
        ...(maxVersion === undefined ? {} : { maxVersion }),
      })
      return (await (inBoth ? sending : run(sending))).response
    },
    pause: (ms) => run(cluster.pause(ms)),
    both: async (first, second) => {
      inBoth = true
      const both = Promise.all([first(), second()])
      inBoth = false
      return run(both)
    },
  }
}

test('the simulation answers as a real broker does', { timeout: 120_000 }, async (context) => {
  const broker = kafka.of(context)
  const sim = new SimCluster({ brokers: 1 })
  const simulated = new Cluster(sim.clientOptions())
  await sim.run(simulated.refresh())
  const ofSim = await converse(over(simulated, (promise) => sim.run(promise), sim.createTopic('agreed', 2).id))
  const real = new Cluster({ brokers: addressesOf(broker), clientId: 'test' })
  try {
    const topic = { name: 'agreed', numPartitions: 2, replicationFactor: 1, assignments: [], configs: [] }
    await real.sendToAny('CreateTopics', { topics: [topic], validateOnly: false })
    real.track().add('agreed')
    for (const partition of [0, 1]) await real.leader('agreed', partition)
    // The first to ask for a coordinator has the internal topics made.
    await real.retry('coordinators', () => real.coordinators.find('group', 'agreed'))
    await real.retry('coordinators', () => real.coordinators.find('transaction', 'agreed'))
    const { id = '' } = await real.topic('agreed')
    const ofReal = await converse(over(real, (promise) => promise, id))
    expect(ofSim).toEqual(ofReal)
  } finally {
    real.close()
    simulated.close()
  }
})
