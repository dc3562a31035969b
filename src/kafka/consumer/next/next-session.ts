import { randomUUID } from 'node:crypto'
import type { KafkaError } from '../../errors.ts'
import type { ConsumerGroupHeartbeatRequest } from '../../protocol/generated/api-types.ts'
import type { ConsumerContext } from '../consumer-context.ts'
import type { MemberIdentity } from '../group-machine.ts'
import { GroupSession } from '../group-session.ts'
import type { GroupEvents, GroupSettings } from '../group-session.ts'
import { PartitionSet } from '../partition-set.ts'
import { NextMember } from './next-member.ts'
import type { NextRequest } from './next-member.ts'

export interface NextOptions {
  /** Of the brokers; null: their default. */
  readonly serverAssignor: string | null
}

/** A member of a KIP-848 group: the machine, its requests, and the names of topics behind their ids. */
export class NextSession extends GroupSession<NextRequest> {
  readonly machine: NextMember
  readonly #options: NextOptions
  readonly #names = new Map<string, string>()
  /** Assigned, and not known to the metadata yet. By topic id. */
  readonly #unresolved = new PartitionSet()
  readonly #stopListening: () => void
  #topics: readonly string[]

  constructor(
    context: ConsumerContext,
    settings: GroupSettings,
    events: GroupEvents,
    topics: readonly string[],
    options: NextOptions,
  ) {
    super(context, settings, events)
    this.#topics = topics
    this.#options = options
    this.#stopListening = context.cluster.onChange(() => this.#resolve())
    this.machine = new NextMember(
      { ...settings, isStatic: settings.instanceId !== null, newMemberId },
      {
        send: (request) => void this.#send(request),
        abandon: () => this.abandonConnection(),
        assigned: (partitions) => this.#assigned(partitions),
        revoke: (partitions) => {
          const released = () => this.enter((now) => this.machine.released(partitions, now))
          events.revoke(this.#takeNamed(partitions), released)
        },
        lost: (partitions, reason) => events.lost(this.#takeNamed(partitions), reason),
        fatal: (error) => events.fatal(error),
      },
      context.random,
    )
  }

  subscribe(topics: readonly string[]): void {
    this.#topics = topics
    this.enter((now) => this.machine.subscriptionChanged(now))
  }

  override async close(): Promise<void> {
    this.#stopListening()
    await super.close()
  }

  /** The coordinator answers members of the current epoch only. */
  protected override offsetFetchIdentity(): MemberIdentity | undefined {
    return this.machine.identity
  }

  protected async sendLeave(): Promise<void> {
    const member = this.machine.leave()
    if (member === undefined) return
    const { groupId, instanceId } = this.settings
    const { memberId, epoch: memberEpoch } = member
    await this.sendToCoordinator(this.connections, 'ConsumerGroupHeartbeat', {
      groupId,
      memberId,
      memberEpoch,
      instanceId,
    })
  }

  async #send(request: NextRequest): Promise<void> {
    try {
      const { response } = await this.sendToCoordinator(
        this.connections,
        'ConsumerGroupHeartbeat',
        this.#bodyOf(request),
      )
      const { assignment } = response
      const answer = { ...response, assignment: assignment === null ? undefined : byId(assignment.topicPartitions) }
      this.enter((now) => this.machine.answered(request, answer, now))
    } catch (error) {
      this.enter((now) => this.machine.failed(request, error as KafkaError, now))
    }
  }

  #bodyOf({ memberId, memberEpoch, isFull, owned, subscribes }: NextRequest): ConsumerGroupHeartbeatRequest {
    const { groupId, instanceId, rack, rebalanceTimeoutMs } = this.settings
    return {
      groupId,
      memberId,
      memberEpoch,
      instanceId,
      ...(isFull ? { rackId: rack, rebalanceTimeoutMs, serverAssignor: this.#options.serverAssignor } : {}),
      subscribedTopicNames: subscribes ? this.#topics : null,
      topicPartitions:
        owned === undefined ? null : owned.toTopics().map(({ topic, partitions }) => ({ topicId: topic, partitions })),
    }
  }

  #assigned(partitions: PartitionSet): void {
    for (const { topic, partition } of partitions) this.#unresolved.add(topic, partition)
    this.#resolve()
  }

  /** Reading begins when the metadata knows the topic. */
  #resolve(): void {
    const named = new PartitionSet()
    for (const { topic: id, partition } of this.#unresolved) {
      const name = this.context.cluster.metadata.topicOfId(id)?.name
      if (name === undefined) continue
      this.#names.set(id, name)
      named.add(name, partition)
      this.#unresolved.delete(id, partition)
    }
    if (this.#unresolved.size > 0) this.context.cluster.wantRefresh()
    if (named.size > 0) this.events.assigned(named)
  }

  #takeNamed(partitions: PartitionSet): PartitionSet {
    const named = new PartitionSet()
    for (const { topic: id, partition } of partitions) {
      const name = this.#names.get(id)
      if (!this.#unresolved.delete(id, partition) && name !== undefined) named.add(name, partition)
    }
    return named
  }
}

function byId(topics: readonly { readonly topicId: string; readonly partitions: readonly number[] }[]): PartitionSet {
  return PartitionSet.fromTopics(topics.map(({ topicId, partitions }) => ({ topic: topicId, partitions })))
}

/** A UUID as Kafka writes it; the member makes it itself (KIP-1082). */
function newMemberId(): string {
  return Buffer.from(randomUUID().replaceAll('-', ''), 'hex').toString('base64url')
}
