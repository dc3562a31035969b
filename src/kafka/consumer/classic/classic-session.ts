import type { TrackedTopics } from '../../cluster/metadata-refresher.ts'
import type { Connections } from '../../cluster/connections.ts'
import { asKafkaError, KafkaError } from '../../errors.ts'
import { decodeAssignment } from '../../protocol/embedded.ts'
import type { JoinGroupRequest } from '../../protocol/generated/api-types.ts'
import type { Assignor, TopicInfo } from '../assignors/assignor.ts'
import type { ConsumerContext } from '../consumer-context.ts'
import { GroupSession } from '../group-session.ts'
import type { GroupEvents, GroupSettings } from '../group-session.ts'
import { PartitionSet } from '../partition-set.ts'
import { ClassicMember } from './classic-member.ts'
import type { ClassicRequest, HeartbeatRequest, Joined, JoinRequest, SyncRequest } from './classic-member.ts'
import { assignmentsOf, subscriptionFor, topicsOf } from './leader.ts'

const PROTOCOL_TYPE = 'consumer'
/** The leader does not wait longer for topics that may not exist. */
const TOPIC_WAIT_MS = 5_000

/** A member of a classic group: the machine, and its requests. */
export class ClassicSession extends GroupSession<ClassicRequest> {
  readonly machine: ClassicMember
  readonly #assignors: readonly Assignor[]
  readonly #joining: Connections
  readonly #tracked: TrackedTopics
  readonly #stopListening: () => void
  #topics: readonly string[]
  #last = new PartitionSet()
  /** How many partitions each topic had when this member assigned them: none if it did not exist. */
  #assignedFor: ReadonlyMap<string, number> | undefined

  constructor(
    context: ConsumerContext,
    settings: GroupSettings,
    events: GroupEvents,
    topics: readonly string[],
    assignors: readonly Assignor[],
  ) {
    super(context, settings, events)
    this.#topics = topics
    this.#assignors = assignors
    this.#joining = context.cluster.connections({ purpose: 'join' })
    this.#tracked = context.cluster.track()
    this.#stopListening = context.cluster.onChange(() => this.#watchTopics())
    const isCooperative = assignors.every(({ protocol }) => protocol === 'cooperative')
    this.machine = new ClassicMember(
      { ...settings, isCooperative },
      {
        send: (request) => void this.#send(request),
        abandon: () => this.abandonConnection(),
        assign: (joined) => void this.#assign(joined),
        assigned: (partitions) => events.assigned(partitions),
        revoke: (partitions) =>
          events.revoke(partitions, () => this.enter((now) => this.machine.released(partitions, now))),
        lost: (partitions, reason) => events.lost(partitions, reason),
        fatal: (error) => events.fatal(error),
      },
      context.random,
    )
  }

  subscribe(topics: readonly string[]): void {
    this.#topics = topics
    this.enter((now) => this.machine.rejoin('the subscription has changed', now))
  }

  override async close(): Promise<void> {
    this.#stopListening()
    this.#tracked.release()
    await super.close()
    this.#joining.close()
  }

  /** A static member keeps its place: it is expected back. */
  protected async sendLeave(): Promise<void> {
    const member = this.machine.leave()
    const { groupId, instanceId } = this.settings
    if (member === undefined || instanceId !== null) return
    const { memberId } = member
    await this.sendToCoordinator(this.connections, 'LeaveGroup', (version) =>
      version < 3 ? { groupId, memberId } : { groupId, members: [{ memberId, reason: 'the consumer was closed' }] },
    )
  }

  async #send(request: ClassicRequest): Promise<void> {
    try {
      if (request.type === 'join') await this.#join(request)
      else if (request.type === 'sync') await this.#sync(request)
      else await this.#beat(request)
    } catch (error) {
      this.enter((now) => this.machine.failed(request, asKafkaError(error), now))
    }
  }

  async #join(request: JoinRequest): Promise<void> {
    const { groupId, instanceId, rack, sessionTimeoutMs, rebalanceTimeoutMs } = this.settings
    const member = {
      topics: this.#topics,
      rack,
      owned: request.owned,
      last: this.#last,
      generation: request.generation,
    }
    const body: JoinGroupRequest = {
      groupId,
      sessionTimeoutMs,
      rebalanceTimeoutMs,
      memberId: request.memberId,
      groupInstanceId: instanceId,
      protocolType: PROTOCOL_TYPE,
      protocols: this.#assignors.map((assignor) => ({
        name: assignor.name,
        metadata: subscriptionFor(assignor, member),
      })),
      reason: request.reason,
    }
    const { response } = await this.sendToCoordinator(this.#joining, 'JoinGroup', body, { waitMs: rebalanceTimeoutMs })
    const { memberId, generationId: generation, protocolName: protocol, leader, members, skipAssignment } = response
    const isAssigning = leader === memberId && !skipAssignment
    if (!isAssigning) this.#assignedFor = undefined
    const joined: Joined = { memberId, generation, protocol, members: isAssigning ? members : undefined }
    this.enter((now) => this.machine.joinAnswered(request, response.errorCode, joined, now))
  }

  async #sync(request: SyncRequest): Promise<void> {
    const { groupId, instanceId, rebalanceTimeoutMs } = this.settings
    const body = {
      groupId,
      generationId: request.generation,
      memberId: request.memberId,
      groupInstanceId: instanceId,
      protocolType: PROTOCOL_TYPE,
      protocolName: request.protocol,
      assignments: request.assignments,
    }
    const { response } = await this.sendToCoordinator(this.#joining, 'SyncGroup', body, { waitMs: rebalanceTimeoutMs })
    const { errorCode } = response
    const assigned = errorCode === 0 ? decodeAssignment(response.assignment).assignedPartitions : []
    const assignment = PartitionSet.fromTopics(assigned)
    if (errorCode === 0) this.#last = assignment
    this.enter((now) => this.machine.syncAnswered(request, errorCode, assignment, now))
  }

  async #beat(request: HeartbeatRequest): Promise<void> {
    const { groupId, instanceId: groupInstanceId } = this.settings
    const { memberId, generation: generationId } = request
    const body = { groupId, generationId, memberId, groupInstanceId }
    const { response } = await this.sendToCoordinator(this.connections, 'Heartbeat', body)
    this.enter((now) => this.machine.heartbeatAnswered(request, response.errorCode, now))
  }

  /** This member leads: it decides for all. */
  async #assign(joined: Joined): Promise<void> {
    try {
      const assignor = this.#assignors.find(({ name }) => name === joined.protocol)
      if (assignor === undefined) {
        throw new KafkaError(`group ${this.settings.groupId} has chosen ${joined.protocol}, which this member lacks`, {
          code: 'INCONSISTENT_GROUP_PROTOCOL',
          action: 'fatal',
          outcome: 'rejected',
        })
      }
      const names = topicsOf(joined)
      const topics = await this.#infosOf(names)
      this.#assignedFor = new Map(names.map((name) => [name, topics.get(name)?.partitions ?? 0]))
      const assignments = assignmentsOf(assignor, joined, topics)
      this.enter((now) => this.machine.assigned(joined, assignments, now))
    } catch (error) {
      if (!this.isClosed) this.events.fatal(asKafkaError(error))
    }
  }

  /** What is known about the topics of all members; those that don't exist are left out. */
  async #infosOf(names: readonly string[]): Promise<ReadonlyMap<string, TopicInfo>> {
    const { cluster } = this.context
    for (const name of names) this.#tracked.add(name)
    const found = await Promise.all(
      names.map(async (name): Promise<readonly [string, TopicInfo] | undefined> => {
        try {
          const { partitions } = await cluster.topic(name, { timeoutMs: TOPIC_WAIT_MS })
          const racks = partitions.map((_, partition) => cluster.metadata.racksOf(name, partition))
          return [name, { partitions: partitions.length, racks }]
        } catch (error) {
          if (asKafkaError(error).code === 'CLOSED') throw error
          return undefined
        }
      }),
    )
    return new Map(found.filter((each) => each !== undefined))
  }

  /** The leader sees to it that new partitions, and topics that come later, get a member. */
  #watchTopics(): void {
    const known = this.#assignedFor
    if (known === undefined) return
    const { metadata } = this.context.cluster
    const hasChanged = [...known].some(([name, count]) => (metadata.topic(name)?.partitions.length ?? count) !== count)
    if (!hasChanged) return
    this.#assignedFor = undefined
    this.enter((now) => this.machine.rejoin('topics have got more partitions, or were made', now))
  }
}
