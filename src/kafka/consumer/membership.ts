import { KafkaError } from '../errors.ts'
import { ClassicSession } from './classic/classic-session.ts'
import type { MemberMetadata } from './consumer-batch.ts'
import type { ConsumerContext } from './consumer-context.ts'
import type { ConsumerSettings } from './consumer-options.ts'
import type { FetchPartition } from './fetch/fetch-partition.ts'
import type { CommittedPosition } from './fetch/position.ts'
import type { GroupEvents, GroupSession } from './group-session.ts'
import { NextSession } from './next/next-session.ts'
import type { CommitPipeline, CommittedOffset } from './offsets/commit-pipeline.ts'
import type { OwnedPartition } from './owned-partition.ts'

/** The consumer, as its membership sees it. */
export interface MembershipHost extends Pick<GroupEvents, 'assigned' | 'revoke' | 'lost' | 'fatal' | 'topicIdOf'> {
  /** What it is subscribed to now. */
  topics(): readonly string[]
  owned(): Iterable<OwnedPartition>
  commitRefused(error: KafkaError): void
}

/** Codes of a cluster that does not have KIP-848. */
const NO_NEXT_PROTOCOL = new Set(['UNSUPPORTED_API', 'UNSUPPORTED_VERSION'])

/**
 * A consumer's place in its group: the session in the protocol that the cluster has, and what is committed there. Without a group it does
 * nothing, and has committed nothing.
 */
export class Membership {
  readonly #context: ConsumerContext
  readonly #settings: ConsumerSettings
  readonly #host: MembershipHost
  #session: GroupSession<unknown> | undefined
  #hasBeenAssigned = false

  constructor(context: ConsumerContext, settings: ConsumerSettings, host: MembershipHost) {
    this.#context = context
    this.#settings = settings
    this.#host = host
  }

  /** Once. */
  join(): void {
    if (this.#settings.group !== undefined) this.#join(this.#settings.group.protocol)
  }

  subscribe(topics: readonly string[]): void {
    this.#session?.subscribe(topics)
  }

  /** After time in which this process may have been stopped: partitions may belong to others by now. */
  check(): void {
    this.#session?.check()
  }

  /** A coordinator that assigns names topics by their ids, so one that was made again is assigned again. */
  get isAssignedByIds(): boolean {
    return this.#session instanceof NextSession
  }

  /** Throws while it is not a member. */
  metadata(): MemberMetadata {
    const { group } = this.#settings
    if (group === undefined) throw notAMember('the consumer reads without a group', 'fatal')
    this.#session?.check()
    const identity = this.#session?.machine.identity
    if (identity === undefined) throw notAMember('the consumer is not a member of its group now', 'rejoin')
    const { memberId, epoch: generationId } = identity
    return { groupId: group.groupId, memberId, generationId, groupInstanceId: group.instanceId }
  }

  async committed(partitions: readonly FetchPartition[]): Promise<ReadonlyMap<FetchPartition, CommittedPosition>> {
    const found = (await this.#session?.committed(partitions)) ?? []
    return new Map(found.map(({ partition, ...committed }) => [partition, committed]))
  }

  /** A partition has come; what is finished of it counts until `end`. */
  begin(owned: OwnedPartition): void {
    this.#session?.commits.begin(owned)
  }

  end(owned: OwnedPartition): void {
    this.#session?.commits.end(owned)
  }

  /** More of it is finished. */
  moved(owned: OwnedPartition): void {
    if (owned.mustCommit || this.#session === undefined) return
    owned.mustCommit = true
    if (this.#settings.autoCommit) this.#session.commitSoon()
  }

  /** Commits at once what is finished of these. The promises reject if a partition is lost, or its commit refused. */
  commit(partitions: Iterable<OwnedPartition>): readonly Promise<void>[] {
    const session = this.#session
    if (session === undefined) return []
    const committed = [...partitions].map((owned) => {
      want(session.commits, owned)
      return new Promise<void>((resolve, reject) => {
        session.commits.whenCommitted(owned, (error) => (error === undefined ? resolve() : reject(error)))
      })
    })
    session.commitNow()
    return committed
  }

  /** Commits this at once, whatever is finished. Resolves with why it is not committed, if it is not; without a group, there is nothing to do. */
  commitAt(
    commits: readonly (readonly [OwnedPartition, CommittedOffset])[],
  ): Promise<readonly (KafkaError | undefined)[]> {
    const session = this.#session
    if (session === undefined) return Promise.resolve(commits.map(() => undefined))
    const committed = commits.map(([owned, commit]) => {
      session.commits.want(owned, commit)
      return new Promise<KafkaError | undefined>((done) => session.commits.whenCommitted(owned, done))
    })
    session.commitNow()
    return Promise.all(committed)
  }

  /** Does no more than leave from now on. */
  stop(): void {
    this.#session?.machine.close()
  }

  /** Leaves the group. */
  async close(): Promise<void> {
    await this.#session?.close()
  }

  #join(protocol: 'classic' | 'consumer'): void {
    const { group, assignors, serverAssignor } = this.#settings
    const topics = this.#host.topics()
    if (group === undefined) return
    const events = this.#events(protocol)
    this.#session =
      protocol === 'classic'
        ? new ClassicSession(this.#context, group, events, topics, assignors)
        : new NextSession(this.#context, group, events, topics, { serverAssignor })
    this.#session.start()
  }

  #events(protocol: 'classic' | 'consumer'): GroupEvents {
    const host = this.#host
    return {
      assigned: (partitions) => {
        this.#hasBeenAssigned = true
        host.assigned(partitions)
      },
      revoke: (partitions, released) => host.revoke(partitions, released),
      lost: (partitions, reason) => host.lost(partitions, reason),
      fatal: (error) => {
        if (protocol === 'consumer' && !this.#hasBeenAssigned && NO_NEXT_PROTOCOL.has(error.code)) {
          void this.#session?.close()
          this.#join('classic')
        } else host.fatal(error)
      },
      commitRefused: (_topic, _partition, error) => host.commitRefused(error),
      committing: () => {
        const commits = this.#settings.autoCommit ? this.#session?.commits : undefined
        if (commits !== undefined) for (const owned of host.owned()) want(commits, owned)
      },
      topicIdOf: (topic, partition) => host.topicIdOf(topic, partition),
    }
  }
}

function want(commits: CommitPipeline, owned: OwnedPartition): void {
  if (!owned.mustCommit) return
  owned.mustCommit = false
  const { floor: offset, leaderEpoch } = owned.prefix
  if (offset >= 0) commits.want(owned, { offset, leaderEpoch, metadata: '' })
}

function notAMember(message: string, action: 'rejoin' | 'fatal'): KafkaError {
  return new KafkaError(message, { code: 'NOT_A_MEMBER', action, outcome: 'not-sent' })
}
