import { backoffMs } from '../cluster/backoff.ts'
import type { Connections } from '../cluster/connections.ts'
import { KafkaError } from '../errors.ts'
import type { SendOptions, Sent } from '../network/connection.ts'
import type { ApiName, Requests } from '../protocol/generated/api-types.ts'
import type { ConsumerContext } from './consumer-context.ts'
import { CODE } from './group-errors.ts'
import type { GroupMachine, LossReason } from './group-machine.ts'
import { CommitPipeline } from './offsets/commit-pipeline.ts'
import type { CommitEntry, CommitRequest } from './offsets/commit-pipeline.ts'
import {
  commitBody,
  commitCodes,
  foundCommits,
  LAST_VERSION_WITH_NAMES,
  mayBeFoundLater,
  offsetFetchBody,
} from './offsets/offset-requests.ts'
import type { FoundCommit, NamedPartition } from './offsets/offset-requests.ts'
import type { PartitionSet } from './partition-set.ts'

export interface GroupSettings {
  readonly groupId: string
  readonly instanceId: string | null
  readonly rack: string | null
  readonly sessionTimeoutMs: number
  readonly rebalanceTimeoutMs: number
  readonly heartbeatIntervalMs: number
  /** Between commits, unless one is asked for. */
  readonly commitIntervalMs: number
}

/** What a group decides, for the consumer. Partitions are named by topic. */
export interface GroupEvents {
  assigned(partitions: PartitionSet): void
  /** `released` must be called, once, when nothing runs any more and what is finished is committed, or when the bound is over. */
  revoke(partitions: PartitionSet, released: () => void): void
  lost(partitions: PartitionSet, reason: LossReason): void
  fatal(error: KafkaError): void
  commitRefused(topic: string, partition: number, error: KafkaError): void
  topicIdOf(topic: string, partition: number): string | undefined
  /** The last moment to say what is to be committed. */
  committing(): void
}

/** Drives the machine of a member: its requests, one timer, its commits. Classic and KIP-848 members add their requests. */
export abstract class GroupSession<Request> {
  readonly commits: CommitPipeline
  readonly settings: GroupSettings
  readonly context: ConsumerContext
  readonly events: GroupEvents
  /** Heartbeats and commits: nothing that waits goes over it. */
  readonly connections: Connections
  abstract readonly machine: GroupMachine<Request>
  #coordinator: number | undefined
  #cancelTimer: (() => void) | undefined
  #timerAt = Infinity
  #lastCommitAt = -Infinity
  #commitAt = Infinity
  #isClosed = false

  constructor(context: ConsumerContext, settings: GroupSettings, events: GroupEvents) {
    this.context = context
    this.settings = settings
    this.events = events
    this.connections = context.cluster.connections({ purpose: 'group' })
    this.commits = new CommitPipeline(
      settings.groupId,
      {
        send: (request) => void this.#sendCommit(request),
        identityRefused: (code, identity) => this.machine.identityRefused(code, identity, this.now()),
        refused: ({ topic, partition }, error) => events.commitRefused(topic, partition, error),
      },
      context.random,
    )
  }

  /** Changes what is read, if it does. */
  abstract subscribe(topics: readonly string[]): void
  protected abstract sendLeave(): Promise<void>

  get isClosed(): boolean {
    return this.#isClosed
  }

  now(): number {
    return this.context.clock.now()
  }

  start(): void {
    this.enter((now) => this.machine.start(now))
  }

  /** Whatever happens to the member goes through here: first it finds out whether it still is one. */
  enter(run: (now: number) => void): void {
    if (this.#isClosed) return
    const now = this.now()
    this.machine.tick(now)
    run(now)
    if (now >= this.#commitAt) this.#flush(now)
    this.commits.useIdentity(this.machine.identity, now)
    this.#schedule(now)
  }

  /** Before anything is delivered or acknowledged. */
  check(): void {
    if (this.now() >= this.machine.wakeAt) this.enter(() => {})
  }

  /** Commits what is wanted within the interval. */
  commitSoon(): void {
    if (this.#commitAt !== Infinity) return
    this.#commitAt = Math.max(this.now(), this.#lastCommitAt + this.settings.commitIntervalMs)
    this.enter(() => {})
  }

  commitNow(): void {
    this.enter((now) => this.#flush(now))
  }

  /** What the group has committed. Asked again until it is answered; rejects with what can't get better. */
  async committed<P extends NamedPartition & { readonly isStopped: boolean }>(
    partitions: readonly P[],
  ): Promise<readonly FoundCommit<P>[]> {
    for (let failures = 1; ; failures++) {
      try {
        const hasIds = partitions.every(({ topicId }) => topicId !== undefined)
        const { response } = await this.sendToCoordinator(
          this.connections,
          'OffsetFetch',
          (version) => offsetFetchBody(this.settings, this.offsetFetchIdentity(), partitions, version),
          hasIds ? {} : { maxVersion: LAST_VERSION_WITH_NAMES },
        )
        return foundCommits(this.settings, response, partitions)
      } catch (error) {
        if (!(error instanceof KafkaError) || !mayBeFoundLater(error) || this.#isClosed) throw error
        if (error.action === 'rediscover') this.forgetCoordinator()
        if (partitions.every(({ isStopped }) => isStopped)) return []
        await this.context.cluster.pause(backoffMs(failures, this.context.random()))
      }
    }
  }

  /** Leaves the group, and ends everything. */
  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#cancelTimer?.()
    try {
      await this.sendLeave()
    } catch (error) {
      // The coordinator finds out by itself when the session is over.
      if (!(error instanceof KafkaError)) throw error
    } finally {
      this.connections.close()
    }
  }

  /** With which identity the group's offsets are read, where the coordinator asks for one. */
  protected offsetFetchIdentity(): { readonly memberId: string; readonly epoch: number } | undefined {
    return undefined
  }

  protected async sendToCoordinator<N extends ApiName>(
    connections: Connections,
    name: N,
    body: Requests[N] | ((version: number) => Requests[N]),
    options: SendOptions = {},
  ): Promise<Sent<N>> {
    const { groupId } = this.settings
    const coordinator = { type: 'group', key: groupId } as const
    const sent = await this.context.cluster.coordinators.send(connections, coordinator, name, body, options)
    this.#coordinator = sent.nodeId
    const { errorCode = 0 } = sent.response as { readonly errorCode?: number }
    if (errorCode === CODE.notCoordinator || errorCode === CODE.coordinatorNotAvailable) this.forgetCoordinator()
    return sent
  }

  protected forgetCoordinator(): void {
    this.context.cluster.coordinators.forget('group', this.settings.groupId, this.#coordinator)
  }

  /** A heartbeat is not answered: what hangs on its connection ends, and is sent again over another. */
  protected abandonConnection(): void {
    if (this.#coordinator !== undefined) this.connections.disconnect(this.#coordinator)
  }

  async #sendCommit(request: CommitRequest): Promise<void> {
    const idOf = ({ span }: CommitEntry) => this.events.topicIdOf(span.topic, span.partition)
    const hasIds = request.entries.every((entry) => idOf(entry) !== undefined)
    try {
      const { response } = await this.sendToCoordinator(
        this.connections,
        'OffsetCommit',
        (version) => commitBody(this.settings, request, idOf, version),
        hasIds ? {} : { maxVersion: LAST_VERSION_WITH_NAMES },
      )
      const codeOf = commitCodes(response, idOf)
      const codes = new Set(request.entries.map(codeOf))
      if (codes.has(CODE.notCoordinator) || codes.has(CODE.coordinatorNotAvailable)) this.forgetCoordinator()
      this.enter((now) => this.commits.answered(request, codeOf, now))
    } catch (error) {
      this.enter((now) => this.commits.failed(request, error as KafkaError, now))
    }
  }

  #flush(now: number): void {
    this.#commitAt = Infinity
    this.#lastCommitAt = now
    this.events.committing()
    this.commits.flush(now)
  }

  #schedule(now: number): void {
    const wakeAt = Math.min(this.machine.wakeAt, this.#commitAt, this.commits.wakeAt)
    if (wakeAt >= this.#timerAt || this.#isClosed) return
    this.#cancelTimer?.()
    this.#timerAt = wakeAt
    const { clock } = this.context
    this.#cancelTimer = clock.setTimer(
      () => {
        this.#timerAt = Infinity
        this.enter(() => {})
      },
      Math.max(0, wakeAt - now),
    )
  }
}
