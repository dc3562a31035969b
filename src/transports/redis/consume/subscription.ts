import type { Timer } from '../../../core/clock.ts'
import { OptionsReader } from '../../../core/util/options-reader.ts'
import { settledWithin } from '../../../core/util/settled-within.ts'
import { compilePattern, isPattern } from '../../../core/topic.ts'
import type {
  AttemptNote,
  Delivery,
  DeliverySink,
  Settlement,
  SettlementFailure,
  StartFrom,
  SubscriptionSpec,
  SubscriptionState,
  TransportSubscription,
} from '../../../core/transport.ts'
import { noteAttempts } from './attempt-notes.ts'
import { Claimer } from './claimer.ts'
import type { RedisContext } from '../context.ts'
import { LostReplyError, messageOf, NotSentError, replyCode } from '../errors.ts'
import { extendLeases } from './entry-leases.ts'
import { noteEphemeral, removeEphemeral } from '../topology/ephemeral.ts'
import { releaseDeliveries } from './release.ts'
import { Credit } from './credit.ts'
import { EntryReader } from '../wire/mapping.ts'
import { Membership } from '../partitions/membership.ts'
import type { PartitionState } from '../partitions/partition-state.ts'
import type { ReaderPool } from './reader-pool.ts'
import { Readers } from './readers.ts'
import { readyIn } from './ready-in.ts'
import type { MemberContext } from './member-context.ts'
import { Settlements } from './settlements.ts'
import type { RedisDelivery, Source } from './source.ts'

const GOODBYE_MS = 2_000
/** A shorter pause is no reason to move partitions. */
const PAUSE_GRACE_MS = 250
const REPAIR_AGAIN_MS = 100
/** A partition may have a quarter of what the member may have in flight, or more where the member has fewer partitions. */
const MOST_SHARES = 4

/** One member of a group, with all topics that it reads. */
export class RedisSubscription implements TransportSubscription, MemberContext {
  readonly context: RedisContext
  readonly spec: SubscriptionSpec
  readonly owned: boolean
  readonly entries: EntryReader = new EntryReader()
  readonly leaseMs: number | undefined
  readonly credit: Credit
  readonly #sink: DeliverySink
  readonly #claimer: Claimer
  readonly #settlements: Settlements
  readonly #readers: Readers
  readonly #memberships = new Map<string, Membership>()
  readonly #matches: (topic: string) => boolean
  /** Topics that appeared later and could not be joined yet. */
  readonly #missed = new Set<string>()
  readonly #joining = new Set<Promise<void>>()
  readonly #repairing = new Set<PartitionState>()
  /** Why messages can't arrive, as of the last attempt. */
  #trouble: string | undefined
  #paused = false
  #pausing: Timer | undefined
  #drained = false
  closed = false
  #stopDiscovery: () => void = () => {}
  #closing: Promise<void> | undefined

  constructor(context: RedisContext, readers: ReaderPool, spec: SubscriptionSpec, sink: DeliverySink) {
    new OptionsReader(`native options of the consumer of "${spec.topic}" (redis has none)`, spec.native).done()
    this.context = context
    this.spec = spec
    this.owned = spec.order !== 'none'
    this.leaseMs = this.owned ? undefined : context.options.leaseMs
    this.#sink = sink
    this.credit = new Credit({
      sink,
      open: () => !this.#paused && !this.#drained && !this.closed,
      shed: this.owned ? undefined : (source, deliveries) => this.#shed(source, deliveries),
    })
    this.#claimer = new Claimer(this)
    this.#settlements = new Settlements(this, this.#claimer)
    this.#readers = new Readers(this, readers, (partitions) => this.#connected(partitions))
    this.#matches = compilePattern(spec.topic)
  }

  get isPattern(): boolean {
    return isPattern(this.spec.topic)
  }

  get consumer(): string {
    return this.#readers.consumer
  }

  /** Joins the group on all existing topics. Rejects when that fails, and then leaves nothing behind but the group. */
  async open(): Promise<void> {
    const { topics } = this.context
    try {
      await this.#readers.prepare()
      if (this.isPattern) {
        this.#stopDiscovery = topics.onNew((topic) => this.#discovered(topic))
        const found = [...(await topics.list()).keys()].filter((topic) => this.#matches(topic))
        await Promise.all(found.map((topic) => this.#join(topic, this.spec.from)))
      } else await this.#join(this.spec.topic, this.spec.from)
      await Promise.all([...this.#memberships.values()].map((membership) => membership.tick()))
      this.#reshare()
    } catch (error) {
      await this.close()
      throw error
    }
  }

  // --- topics ------------------------------------------------------------------------------------------------------

  async #join(topic: string, from: StartFrom): Promise<void> {
    if (this.#memberships.has(topic)) return
    // The strict order of a whole topic needs a single partition; that of a new topic is not set yet.
    const partitions = await this.context.topics.register(topic, this.spec.order === 'strict' ? 1 : undefined)
    if (this.#memberships.has(topic) || this.closed) return
    const membership = new Membership({
      member: this,
      claimer: this.#claimer,
      topic,
      partitions,
      readers: this.#readers,
      lose: (partition, reason) => this.#lose(partition, reason),
      repair: (partition) => this.#repair(partition),
      onMaintained: (error) => this.#maintained(error),
    })
    membership.paused = this.#paused
    this.#memberships.set(topic, membership)
    try {
      await this.#readers.connect(membership.partitions)
      await membership.join(from)
    } catch (error) {
      this.#memberships.delete(topic)
      throw error
    }
    await this.context.maintenance.add(membership)
    if (this.spec.ephemeral) await noteEphemeral(this.context, topic, this.spec.group)
  }

  /** A topic that appears later: no member has seen anything of it, so it is read from its first message. */
  #discovered(topic: string): void {
    if (!this.#matches(topic) || this.#memberships.has(topic) || this.#drained) return
    this.#missed.delete(topic)
    const joining = this.#join(topic, 'earliest')
      .then(() => this.context.maintenance.soon(0))
      .catch((error: unknown) => {
        this.#missed.add(topic)
        this.reportError(error, `joining the new topic "${topic}"`)
        this.context.host.clock.setTimer(this.context.options.pollIntervalMs, () => {
          if (this.#missed.has(topic)) this.#discovered(topic)
        })
      })
      .finally(() => this.#joining.delete(joining))
    this.#joining.add(joining)
  }

  /** What the server sent to the old connection but never arrived is pending under our name. */
  #connected(partitions: ReadonlySet<PartitionState>): void {
    for (const partition of partitions) {
      // The server gets to know the new connection.
      partition.inspectAt = 0
      if (partition.phase !== 'held') continue
      partition.reads.reset()
      // What was in a lost reply is pending, unless our consumer was deleted meanwhile. Where no other member reads, nobody has seen it.
      const { seen } = partition.reads
      const isAlone = this.owned && this.#memberships.get(partition.keys.topic)?.isMixed === false
      if (isAlone && seen !== '') partition.former ??= { consumer: '', floor: seen }
      for (const source of partition.sources) this.#claimer.recover(source, this.owned ? 'all' : 'mine')
    }
    this.context.maintenance.soon(0)
  }

  // --- credit ------------------------------------------------------------------------------------------------------

  request(credit: number, bytes: number): void {
    this.credit.request(credit, bytes)
    this.wake()
  }

  pause(): void {
    if (this.#paused) return
    this.#paused = true
    void this.#readers.interrupt()
    this.#pausing = this.context.host.clock.setTimer(PAUSE_GRACE_MS, () => this.#shareOut())
  }

  resume(): void {
    if (!this.#paused) return
    this.#paused = false
    this.#pausing?.cancel()
    this.#shareOut()
    this.credit.handOut()
    this.wake()
  }

  wake(): void {
    this.#claimer.wake()
    this.#readers.refresh()
  }

  // --- giving back and repairing -----------------------------------------------------------------------------------

  /** Without partition owners, what can't be handled here goes to others at once. */
  #shed(source: Source, deliveries: readonly RedisDelivery[]): void {
    releaseDeliveries(this, source, deliveries).then(
      () => this.#claimer.expect(source, 0),
      (error: unknown) => {
        this.#claimer.recover(source, 'mine')
        this.reportError(error, `handing back to ${source.stream}`)
      },
    )
  }

  #lose(partition: PartitionState, reason: string): void {
    partition.phase = 'idle'
    partition.generation = ''
    for (const source of partition.sources) this.credit.forget(source)
    partition.rewind()
    const lost = partition.takeBack()
    this.#readers.remove(partition).catch((error: unknown) => this.reportError(error, 'stopping to read a partition'))
    if (lost.length > 0) this.#sink.lost(lost, reason)
    this.#memberships.get(partition.keys.topic)?.lostOne()
  }

  #repair(partition: PartitionState): void {
    const membership = this.#memberships.get(partition.keys.topic)
    if (membership === undefined || this.#repairing.has(partition)) return
    this.#repairing.add(partition)
    membership
      .repair(partition)
      .catch((error: unknown) => {
        partition.inspectAt = 0
        this.context.maintenance.soon(REPAIR_AGAIN_MS)
        this.reportError(error, `making group "${this.spec.group}" again`)
      })
      .finally(() => this.#repairing.delete(partition))
  }

  // --- settling ----------------------------------------------------------------------------------------------------

  async settle(batch: readonly Settlement[]): Promise<readonly SettlementFailure[]> {
    const failures = await this.#settlements.settle(batch)
    // What was handed back untouched may come again at once, if there is credit.
    if (this.owned) {
      this.credit.handOut()
      this.#readers.settled()
    }
    return failures
  }

  extend(deliveries: readonly Delivery[]): Promise<void> {
    return extendLeases(this, deliveries as readonly RedisDelivery[], this.#sink)
  }

  noteAttempts(notes: readonly AttemptNote[]): Promise<void> {
    return noteAttempts(this, notes)
  }

  // --- how it stands -----------------------------------------------------------------------------------------------

  state(): SubscriptionState {
    const memberships = [...this.#memberships.values()]
    const standby = this.owned && memberships.length > 0 && memberships.every((membership) => membership.standby)
    return { standby, trouble: this.#trouble }
  }

  /** Messages in our partitions: unread, due again, or waiting here for credit. */
  async readyHere(): Promise<number> {
    const held = [...this.#memberships.values()].flatMap(({ partitions }) =>
      partitions.filter(({ phase }) => phase === 'held'),
    )
    return readyIn(this.context, held)
  }

  // --- time --------------------------------------------------------------------------------------------------------

  /** A slow key may have no more in flight than the share of its partition: others continue. */
  #reshare(): void {
    if (!this.owned) return
    let held = 0
    for (const { partitions } of this.#memberships.values())
      for (const { phase } of partitions) if (phase === 'held') held++
    const shares = Math.min(MOST_SHARES, Math.max(1, held))
    this.credit.share = Math.max(this.spec.maxPerKey, Math.ceil(this.spec.prefetch / shares))
  }

  /** While it is paused or ends, its partitions go to other members, if there are any. */
  #shareOut(): void {
    for (const membership of this.#memberships.values()) membership.paused = this.#paused || this.#drained
    this.context.maintenance.soon(0)
  }

  /** Something was done to keep the group alive, or failed. */
  #maintained(error: unknown): void {
    this.#reshare()
    if (error !== undefined) this.reportError(error, `keeping group "${this.spec.group}" alive`)
    else if (this.#repairing.size === 0) this.#trouble = undefined
  }

  /** Other processes delete the group of a broadcast consumer that does not say that it is in use. */
  async keep(): Promise<void> {
    if (!this.spec.ephemeral || this.closed) return
    for (const topic of this.#memberships.keys())
      await noteEphemeral(this.context, topic, this.spec.group).catch((error: unknown) =>
        this.reportError(error, 'keeping a group of a broadcast consumer'),
      )
  }

  /** The lease of this process is over, whatever the server will say. */
  loseAll(reason: string): void {
    for (const membership of this.#memberships.values()) membership.loseAll(reason)
  }

  /** The group may have been moved by this process: better to know now than at the next tick. */
  async check(topic: string): Promise<void> {
    const membership = this.#memberships.get(topic)
    membership?.changed()
    await membership?.tick()
  }

  // --- end ---------------------------------------------------------------------------------------------------------

  /** Leases are renewed until the end: what is in flight can still be settled. */
  async drain(): Promise<void> {
    if (this.#drained) return
    this.#drained = true
    this.#stopDiscovery()
    this.#missed.clear()
    this.#pausing?.cancel()
    this.#shareOut()
    await this.#readers.stop()
    await this.#claimer.stop()
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    const { host, commands } = this.context
    // Without a connection, or with a server that does not answer, the leases expire by themselves.
    await settledWithin(host.clock, GOODBYE_MS, this.#leave(commands.connected))
    this.closed = true
    this.#readers.abandon()
  }

  async #leave(connected: boolean): Promise<void> {
    await this.drain()
    this.closed = true
    await Promise.all(this.#joining)
    for (const membership of this.#memberships.values()) this.context.maintenance.remove(membership)
    if (connected) await Promise.all([...this.#memberships.values()].map((membership) => membership.lastLooks()))
    const unsettled = [...this.#memberships.values()].flatMap(({ partitions }) =>
      partitions.map((partition) => partition.takeBack()),
    )
    if (!connected) {
      this.#leaveLater()
      return
    }
    try {
      if (this.spec.ephemeral) {
        for (const membership of this.#memberships.values()) {
          await membership.stop()
          await removeEphemeral(this.context, membership.topic, this.spec.group, membership.partitions.length)
        }
        return
      }
      for (const deliveries of unsettled)
        await this.#giveUp(deliveries).catch((error: unknown) => {
          // Leaving hands them back as well; only their attempts are not noted then.
          if (replyCode(error) !== 'NOGROUP') throw error
        })
      await Promise.all([...this.#memberships.values()].map((membership) => membership.leave()))
    } catch (error) {
      this.context.reports.error(error, `leaving group "${this.spec.group}"`)
      this.#leaveLater()
    }
  }

  /** Groups for one subscription are deleted by any member that finds that they are not in use. */
  #leaveLater(): void {
    if (this.spec.ephemeral) return
    for (const membership of this.#memberships.values()) this.context.maintenance.leaveLater(membership)
  }

  /**
   * What a handler has started but not ended uses no attempt. What is being settled stays as it is: its ack may have
   * succeeded already, and leaving returns the rest.
   */
  async #giveUp(deliveries: readonly RedisDelivery[]): Promise<void> {
    const unsettled = deliveries.filter(({ settled }) => !settled)
    for (const source of new Set(unsettled.map((delivery) => delivery.source)))
      await releaseDeliveries(
        this,
        source,
        unsettled.filter((delivery) => delivery.source === source),
      )
  }

  reportError(error: unknown, doing: string): void {
    if (this.closed) return
    if (!(error instanceof LostReplyError) && !(error instanceof NotSentError))
      this.#trouble = `${doing}: ${messageOf(error)}`
    this.context.reports.error(error, doing)
  }
}
