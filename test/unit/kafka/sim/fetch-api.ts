import type { Call, Handlers } from './broker.ts'
import { CODE } from './codes.ts'
import { checkLeader } from './data-apis.ts'
import type { FetchSession, Wanted } from './fetch-sessions.ts'
import type { SimCluster } from './sim-cluster.ts'
import type { Answer, Asked } from './wire.ts'

type TopicResponse = NonNullable<Answer<'Fetch'>['responses']>[number]
type PartitionResponse = NonNullable<TopicResponse['partitions']>[number]

/** Fetch: sessions, long polls, isolation, divergence. */
export function fetchApi(cluster: SimCluster): Handlers {
  return {
    Fetch: async (request, call) => {
      const sessions = cluster.fetchSessions(call.broker.id)
      const session = sessions.open(request, cluster.random, call.version)
      if (typeof session === 'number') return { errorCode: session, sessionId: 0 }
      const poll = new Poll(cluster, request, call, session)
      const end = cluster.clock.now() + request.maxWaitMs
      let found = poll.look()
      while (!found.isEnough && cluster.clock.now() < end && call.client.isOpen) {
        await cluster.untilAppended(end - cluster.clock.now())
        await call.broker.untilThawed()
        found = poll.look()
      }
      session.answered(found.partitions)
      return {
        errorCode: 0,
        sessionId: session.id,
        responses: byTopic(found.partitions),
        nodeEndpoints: cluster.endpoints(),
      }
    },
  }
}

interface Found {
  readonly wanted: Wanted
  readonly response: PartitionResponse
}

/** One request, looked at again while it waits. */
class Poll {
  readonly #cluster: SimCluster
  readonly #request: Asked<'Fetch'>
  readonly #call: Call
  readonly #session: FetchSession

  constructor(cluster: SimCluster, request: Asked<'Fetch'>, call: Call, session: FetchSession) {
    this.#cluster = cluster
    this.#request = request
    this.#call = call
    this.#session = session
  }

  look(): { readonly partitions: readonly Found[]; readonly isEnough: boolean } {
    const partitions: Found[] = []
    let left = this.#request.maxBytes
    let bytes = 0
    let isUrgent = false
    for (const wanted of this.#session.wanted()) {
      const response = this.#read(wanted, bytes === 0 ? Math.max(left, 1) : left)
      const size = response.records?.length ?? 0
      bytes += size
      left -= size
      const isElsewhere = (response.preferredReadReplica ?? -1) !== -1
      isUrgent ||= response.errorCode !== 0 || isElsewhere || (response.divergingEpoch?.epoch ?? -1) !== -1
      if (this.#session.mustReport(wanted, response)) partitions.push({ wanted, response })
    }
    return { partitions, isEnough: isUrgent || bytes >= this.#request.minBytes }
  }

  #read(wanted: Wanted, maxBytes: number): PartitionResponse {
    const { index, fetchOffset, lastFetchedEpoch, currentLeaderEpoch } = wanted
    const { version, broker } = this.#call
    const fail = (errorCode: number): PartitionResponse => ({
      partitionIndex: index,
      errorCode,
      highWatermark: -1,
      abortedTransactions: null,
    })
    const topic = this.#cluster.topicFor(broker, version >= 13 ? { id: wanted.topic } : { name: wanted.topic })
    if (topic === undefined) return fail(version >= 13 ? CODE.UNKNOWN_TOPIC_ID : CODE.UNKNOWN_TOPIC_OR_PARTITION)
    const partition = topic.partitions[index]
    const isFollower = partition?.leader !== broker.id && partition?.replicas.includes(broker.id) === true
    const asLeader = isFollower && version >= 11 ? { ...partition, leader: broker.id } : partition
    const errorCode = checkLeader(asLeader, this.#call, currentLeaderEpoch)
    if (partition === undefined) return fail(errorCode)
    const { log, leader = -1, epoch } = partition
    if (errorCode === CODE.NOT_LEADER_OR_FOLLOWER || errorCode === CODE.FENCED_LEADER_EPOCH) {
      return { ...fail(errorCode), currentLeader: { leaderId: leader, leaderEpoch: epoch } }
    }
    if (errorCode !== 0) return fail(errorCode)
    const endOf = (id: number): number => Math.min(log.endOffset, partition.replicaEnds.get(id) ?? Infinity)
    const highWatermark = isFollower ? endOf(broker.id) : log.endOffset
    const isCommitted = this.#request.isolationLevel === 1
    const { startOffset: logStartOffset } = log
    const lastStableOffset = Math.min(log.lastStableOffset, highWatermark)
    const response = { partitionIndex: index, errorCode: 0, highWatermark, lastStableOffset, logStartOffset }
    // A consumer is sent to a replica in its rack that has what it wants (KIP-392).
    const near = partition.replicas.find(
      (id) => this.#cluster.broker(id).rack === this.#request.rackId && endOf(id) >= fetchOffset,
    )
    if (!isFollower && near !== undefined && near !== broker.id && this.#cluster.isAlive(near)) {
      return { ...response, preferredReadReplica: near }
    }
    if (lastFetchedEpoch !== -1) {
      const end = log.endOfEpoch(lastFetchedEpoch)
      if (end.epoch !== lastFetchedEpoch || end.endOffset < fetchOffset) return { ...response, divergingEpoch: end }
    }
    if (fetchOffset < logStartOffset || fetchOffset > highWatermark) return fail(CODE.OFFSET_OUT_OF_RANGE)
    const until = isCommitted ? lastStableOffset : highWatermark
    const limit = Math.min(wanted.maxBytes, maxBytes)
    const records = limit <= 0 || fetchOffset >= until ? Buffer.alloc(0) : log.read(fetchOffset, limit, until)
    const abortedTransactions = isCommitted ? log.abortedWithin(fetchOffset, until) : null
    return { ...response, records, abortedTransactions }
  }
}

/** Topics in the order of their first partitions. */
function byTopic(found: readonly Found[]): readonly TopicResponse[] {
  const topics = new Map<string, { topic: string; topicId: string; partitions: PartitionResponse[] }>()
  for (const { wanted, response } of found) {
    const { topic } = wanted
    const known = topics.get(topic) ?? { topic, topicId: topic, partitions: [] }
    known.partitions.push(response)
    topics.set(topic, known)
  }
  return [...topics.values()]
}
