import type { Call, ClientConnection, Handlers } from './broker.ts'
import { CODE } from './codes.ts'
import { ShareGroup } from './share-group.ts'
import type { AcquiredRange, Acknowledged, SharePartitionState } from './share-partition.ts'
import type { SimCluster } from './sim-cluster.ts'
import type { SimPartition } from './topics.ts'
import type { Answer, Asked } from './wire.ts'

type Topics = Asked<'ShareFetch'>['topics']
type PartitionResponse = NonNullable<NonNullable<Answer<'ShareFetch'>['responses']>[number]['partitions']>[number]

const FINAL_EPOCH = -1
const RECORD_LIMIT = 1

/** What a broker remembers of a member (KIP-932); it ends with its connection. */
class ShareSession {
  readonly client: ClientConnection
  nextEpoch = 1
  isEnded = false
  /** Topic ids and partitions, in the order in which they were added. */
  readonly partitions = new Map<string, { readonly topicId: string; readonly index: number }>()

  constructor(client: ClientConnection) {
    this.client = client
  }

  get isOpen(): boolean {
    return !this.isEnded && this.client.isOpen
  }

  change(topics: Topics, forgotten: Asked<'ShareFetch'>['forgottenTopicsData']): void {
    for (const { topicId, partitions } of topics) {
      for (const { partitionIndex: index } of partitions) this.partitions.set(`${topicId}/${index}`, { topicId, index })
    }
    for (const { topicId, partitions } of forgotten) {
      for (const index of partitions) this.partitions.delete(`${topicId}/${index}`)
    }
  }
}

/** All share groups of the cluster, and their members' sessions at each broker. */
export class SimShares {
  readonly #cluster: SimCluster
  readonly #groups = new Map<string, ShareGroup>()
  readonly #sessions = new Map<string, ShareSession>()

  constructor(cluster: SimCluster) {
    this.#cluster = cluster
  }

  group(groupId: string): ShareGroup {
    const { clock, topics } = this.#cluster
    let group = this.#groups.get(groupId)
    if (group === undefined) {
      const known = () =>
        [...topics.all()].map(({ name, id, partitions }) => ({ name, id, partitions: partitions.length }))
      this.#groups.set(groupId, (group = new ShareGroup({ clock, topics: known })))
    }
    return group
  }

  /** As when a broker needs room for other sessions. */
  evictSessions(): void {
    for (const session of this.#sessions.values()) session.isEnded = true
    this.#sessions.clear()
    this.#cluster.appended()
  }

  handlers(): Handlers {
    return {
      ShareGroupHeartbeat: (request, call) => {
        const errorCode = this.#cluster.coordinators.check('group', request.groupId, call.broker.id)
        return errorCode === 0 ? this.group(request.groupId).heartbeat(request) : { errorCode }
      },
      ShareFetch: (request, call) => this.#fetch(request, call),
      ShareAcknowledge: (request, call) => this.#acknowledge(request, call),
    }
  }

  async #fetch(request: Asked<'ShareFetch'>, call: Call): Promise<Answer<'ShareFetch'>> {
    const { shareSessionEpoch: epoch, topics, forgottenTopicsData, maxWaitMs } = request
    const group = this.group(request.groupId ?? '')
    const said = topics.some(({ partitions }) => partitions.some((each) => each.acknowledgementBatches.length > 0))
    if (epoch === 0 && said) return { errorCode: CODE.INVALID_REQUEST }
    const session = epoch === 0 ? this.#newSession(request, call) : this.#session(request, epoch, call)
    if (typeof session === 'number') return { errorCode: session }
    const refusals = this.#say(group, session, topics, call)
    if (epoch === FINAL_EPOCH) {
      this.#end(request, session, call)
      return { errorCode: 0, acquisitionLockTimeoutMs: group.lockMs, responses: [] }
    }
    session.change(topics, forgottenTopicsData)
    const end = this.#cluster.clock.now() + maxWaitMs
    let found = this.#look(group, session, request, call)
    while (!found.some(isNews) && refusals.size === 0 && this.#cluster.clock.now() < end && session.isOpen) {
      await this.#cluster.untilAppended(end - this.#cluster.clock.now())
      await call.broker.untilThawed()
      found = this.#look(group, session, request, call)
    }
    const answers = found.map(({ topicId, answer }) => {
      const acknowledgeErrorCode = refusals.get(`${topicId}/${answer.partitionIndex}`) ?? 0
      return { topicId, partitions: [{ ...answer, acknowledgeErrorCode }] }
    })
    const responses = answers.filter(
      ({ partitions: [each] }) => isNews({ answer: each }) || each?.acknowledgeErrorCode !== 0,
    )
    // Others may want what is not acknowledged in time.
    this.#cluster.clock.setTimer(() => this.#cluster.appended(), group.lockMs)
    return { errorCode: 0, acquisitionLockTimeoutMs: group.lockMs, responses, nodeEndpoints: this.#cluster.endpoints() }
  }

  #acknowledge(request: Asked<'ShareAcknowledge'>, call: Call): Answer<'ShareAcknowledge'> {
    const { shareSessionEpoch: epoch, topics } = request
    const group = this.group(request.groupId ?? '')
    if (epoch === 0) return { errorCode: CODE.INVALID_SHARE_SESSION_EPOCH }
    const session = this.#session(request, epoch, call)
    if (typeof session === 'number') return { errorCode: session }
    const refusals = this.#say(group, session, topics, call)
    if (epoch === FINAL_EPOCH) this.#end(request, session, call)
    const responses = topics.map(({ topicId, partitions }) => ({
      topicId,
      partitions: partitions.map(({ partitionIndex }) => ({
        partitionIndex,
        errorCode: refusals.get(`${topicId}/${partitionIndex}`) ?? 0,
      })),
    }))
    return { errorCode: 0, acquisitionLockTimeoutMs: group.lockMs, responses }
  }

  #newSession(request: Asked<'ShareFetch'>, call: Call): ShareSession {
    const key = keyOf(request, call)
    const former = this.#sessions.get(key)
    if (former !== undefined) this.#end(request, former, call)
    const session = new ShareSession(call.client)
    this.#sessions.set(key, session)
    return session
  }

  #session(
    request: Pick<Asked<'ShareFetch'>, 'groupId' | 'memberId'>,
    epoch: number,
    call: Call,
  ): ShareSession | number {
    const session = this.#sessions.get(keyOf(request, call))
    if (session?.isOpen !== true || session.client !== call.client) return CODE.SHARE_SESSION_NOT_FOUND
    if (epoch === FINAL_EPOCH) return session
    if (epoch !== session.nextEpoch) return CODE.INVALID_SHARE_SESSION_EPOCH
    session.nextEpoch++
    return session
  }

  #end(request: Pick<Asked<'ShareFetch'>, 'groupId' | 'memberId'>, session: ShareSession, call: Call): void {
    session.isEnded = true
    this.#sessions.delete(keyOf(request, call))
    this.#cluster.appended()
  }

  /** What was said, where it was refused: error codes by partition. */
  #say(group: ShareGroup, session: ShareSession, topics: Topics, call: Call): ReadonlyMap<string, number> {
    const refusals = new Map<string, number>()
    for (const { topicId, partitions } of topics) {
      for (const { partitionIndex, acknowledgementBatches } of partitions) {
        if (acknowledgementBatches.length === 0) continue
        const code = this.#sayOne(group, session, { topicId, index: partitionIndex }, acknowledgementBatches, call)
        if (code !== 0) refusals.set(`${topicId}/${partitionIndex}`, code)
      }
    }
    this.#cluster.appended()
    return refusals
  }

  #sayOne(
    group: ShareGroup,
    session: ShareSession,
    { topicId, index }: { readonly topicId: string; readonly index: number },
    batches: readonly Acknowledged[],
    call: Call,
  ): number {
    const partition = this.#cluster.topicFor(call.broker, { id: topicId })?.partitions[index]
    if (partition === undefined) return CODE.UNKNOWN_TOPIC_ID
    if (partition.leader !== call.broker.id) return CODE.NOT_LEADER_OR_FOLLOWER
    return this.#stateOf(group, topicId, partition).acknowledge(session, batches, this.#cluster.clock.now())
  }

  #look(group: ShareGroup, session: ShareSession, { maxRecords, shareAcquireMode }: Asked<'ShareFetch'>, call: Call) {
    let left = maxRecords
    const isExact = shareAcquireMode === RECORD_LIMIT
    return [...session.partitions.values()].map(({ topicId, index }) => {
      const answer = this.#acquire(group, session, topicId, index, { room: left, isExact }, call)
      for (const { firstOffset = 0, lastOffset = -1 } of answer.acquiredRecords ?? [])
        left -= lastOffset - firstOffset + 1
      return { topicId, answer }
    })
  }

  #acquire(
    group: ShareGroup,
    session: ShareSession,
    topicId: string,
    index: number,
    limit: { readonly room: number; readonly isExact: boolean },
    call: Call,
  ): PartitionResponse {
    const partition = this.#cluster.topicFor(call.broker, { id: topicId })?.partitions[index]
    if (partition === undefined) return { partitionIndex: index, errorCode: CODE.UNKNOWN_TOPIC_ID }
    const { leader = -1, epoch, log } = partition
    const currentLeader = { leaderId: leader, leaderEpoch: epoch }
    if (leader !== call.broker.id)
      return { partitionIndex: index, errorCode: CODE.NOT_LEADER_OR_FOLLOWER, currentLeader }
    const state = this.#stateOf(group, topicId, partition)
    const now = this.#cluster.clock.now()
    const acquiredRecords: AcquiredRange[] = []
    const parts: Buffer[] = []
    let { room } = limit
    for (const batch of log.batches) {
      if (room <= 0) break
      // Whole batches, unless told otherwise: what a batch has beyond the limit is acquired too.
      const offsets = Array.from({ length: batch.lastOffset - batch.baseOffset + 1 }, (_, at) => batch.baseOffset + at)
      const ranges = state.acquire(session, offsets, now, limit.isExact ? room : Infinity)
      if (ranges.length === 0) continue
      parts.push(batch.bytes)
      acquiredRecords.push(...ranges)
      for (const { firstOffset, lastOffset } of ranges) room -= lastOffset - firstOffset + 1
    }
    return { partitionIndex: index, errorCode: 0, records: Buffer.concat(parts), acquiredRecords }
  }

  /** A new leader reads what was said from the state topic; it knows no locks. */
  #stateOf(group: ShareGroup, topicId: string, { index, epoch }: SimPartition): SharePartitionState {
    const state = group.partition(topicId, index)
    if (state.leaderEpoch !== epoch) state.release()
    state.leaderEpoch = epoch
    return state
  }
}

function isNews({ answer }: { readonly answer: PartitionResponse | undefined }): boolean {
  return answer?.errorCode !== 0 || (answer.acquiredRecords?.length ?? 0) > 0
}

function keyOf({ groupId, memberId }: Pick<Asked<'ShareFetch'>, 'groupId' | 'memberId'>, { broker }: Call): string {
  return `${broker.id} ${groupId}/${memberId}`
}
