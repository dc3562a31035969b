import { AuthorizationError } from '../../core/errors.ts'
import { OptionsReader } from '../../core/options.ts'
import type { Timer } from '../../core/clock.ts'
import { compilePattern, isPattern } from '../../core/topic.ts'
import type {
  Delivery,
  DeliverySink,
  Settlement,
  SettlementFailure,
  StartFrom,
  SubscriptionSpec,
  TransportSubscription,
} from '../../core/transport.ts'
import { Claimer } from './claimer.ts'
import type { RedisContext } from './context.ts'
import { RedisDelivery } from './delivery.ts'
import { noteEphemeral, removeEphemeral } from './ephemeral.ts'
import { isAuthorizationFailure, LostReplyError, messageOf, NotSentError } from './errors.ts'
import { handBack } from './hand-back.ts'
import { EntryReader } from './mapping.ts'
import { Membership } from './membership.ts'
import type { PartitionState } from './partition-state.ts'
import { Reader } from './reader.ts'
import { EXTEND, NOTE_ATTEMPT } from './scripts/settle.ts'
import type { Seat } from './seat.ts'
import { Settlements } from './settlement.ts'
import type { Source } from './source.ts'

/** Entries of unknown size are read in small numbers until it is known. */
const FIRST_READ = 16
const GOODBYE_MS = 2_000
const MIN_TICK_MS = 5
/** A pause shorter than that is no reason to move partitions about. */
const PAUSE_GRACE_MS = 250

/** One member of a group, with all topics that it reads. */
export class RedisSubscription implements TransportSubscription, Seat {
  readonly context: RedisContext
  readonly spec: SubscriptionSpec
  readonly member: string
  readonly owned: boolean
  readonly entries: EntryReader = new EntryReader()
  readonly leaseMs: number | undefined
  readonly #sink: DeliverySink
  readonly #claimer: Claimer
  readonly #settlements: Settlements
  readonly #memberships = new Map<string, Membership>()
  readonly #readers = new Map<string, Reader>()
  readonly #matches: (topic: string) => boolean
  #credit = 0
  #bytes = 0
  #averageBytes = 0
  #batch: Delivery[] = []
  /** Sources that hold entries for want of credit. */
  readonly #stocked = new Set<Source>()
  #paused = false
  #drained = false
  #leaving = false
  closed = false
  #tickTimer: Timer | undefined
  #tickAt = Infinity
  #ticking: Promise<void> | undefined
  #leaseTimer: Timer | undefined
  #stopDiscovery: () => void = () => {}
  #closing: Promise<void> | undefined
  readonly #joining = new Set<Promise<void>>()
  readonly #repairing = new Set<PartitionState>()

  constructor(context: RedisContext, spec: SubscriptionSpec, sink: DeliverySink) {
    new OptionsReader(`native options of the consumer of "${spec.topic}" (redis has none)`, spec.native).done()
    this.context = context
    this.spec = spec
    this.member = spec.consumerId
    this.owned = spec.order !== 'none'
    this.leaseMs = this.owned ? undefined : context.options.leaseMs
    this.#sink = sink
    this.#claimer = new Claimer(this)
    this.#settlements = new Settlements(this, this.#claimer)
    this.#matches = compilePattern(spec.topic)
  }

  /** Joins the group on all topics that are there. Rejects when that fails; then nothing is left behind but the group. */
  async open(): Promise<void> {
    const { topics, wire } = this.context
    try {
      if (!wire.cluster) await this.#makeReader('').start()
      if (isPattern(this.spec.topic)) {
        this.#stopDiscovery = topics.onNew((topic) => this.#discovered(topic))
        const found = [...(await topics.list()).keys()].filter((topic) => this.#matches(topic))
        await Promise.all(found.map((topic) => this.#join(topic, this.spec.from)))
      } else await this.#join(this.spec.topic, this.spec.from)
      await Promise.all([...this.#memberships.values()].map((membership) => membership.tick()))
    } catch (error) {
      await this.close()
      throw error
    }
    this.#armTick(this.#pollMs())
    this.#armLeases()
  }

  // --- topics ------------------------------------------------------------------------------------------------------

  async #join(topic: string, from: StartFrom): Promise<void> {
    if (this.#memberships.has(topic)) return
    // The strict order of a whole topic needs a single partition; nobody has decided on a new one yet.
    const partitions = await this.context.topics.register(topic, this.spec.order === 'strict' ? 1 : undefined)
    if (this.#memberships.has(topic) || this.closed) return
    const membership = new Membership({
      seat: this,
      claimer: this.#claimer,
      topic,
      partitions,
      readerOf: (partition) => this.#readerOf(partition),
      soon: (ms) => this.#armTick(ms),
    })
    membership.paused = this.#paused
    this.#memberships.set(topic, membership)
    try {
      if (this.context.wire.cluster) await this.#connectReaders(membership)
      await membership.join(from)
    } catch (error) {
      this.#memberships.delete(topic)
      throw error
    }
    if (this.spec.ephemeral) await noteEphemeral(this.context, topic, this.spec.group)
  }

  /** A topic that appears later: nobody has seen anything of it, so it is read from its first message. */
  #discovered(topic: string): void {
    if (!this.#matches(topic) || this.#memberships.has(topic) || this.#drained) return
    const joining = this.#join(topic, 'earliest')
      .then(() => this.#armTick(0))
      .catch((error: unknown) => this.tellError(error, `joining the new topic "${topic}"`))
      .finally(() => this.#joining.delete(joining))
    this.#joining.add(joining)
  }

  get isPattern(): boolean {
    return isPattern(this.spec.topic)
  }

  // --- readers -----------------------------------------------------------------------------------------------------

  #makeReader(key: string): Reader {
    const { wire, keys } = this.context
    const reader = new Reader(this, key === '' ? keys.topics : key, (connected) => this.#connected(connected))
    this.#readers.set(key, reader)
    if (wire.cluster && this.closed) void reader.stop()
    return reader
  }

  #readerOf(partition: PartitionState): Reader {
    const key = this.context.wire.cluster ? partition.keys.stream : ''
    return this.#readers.get(key) as Reader
  }

  async #connectReaders(membership: Membership): Promise<void> {
    await Promise.all(membership.partitions.map(({ keys }) => this.#makeReader(keys.stream).start()))
  }

  /** What the server gave to the old connection, and what never arrived, is pending under our name. */
  #connected(reader: Reader): void {
    for (const partition of reader.partitions) {
      if (partition.phase !== 'held') continue
      for (const source of partition.sources) this.#claimer.recover(source, this.owned ? 'all' : 'mine')
    }
    this.#armTick(0)
  }

  // --- credit ------------------------------------------------------------------------------------------------------

  request(credit: number, bytes: number): void {
    this.#credit += credit
    this.#bytes += bytes
    this.#handOut()
    this.wake()
  }

  pause(): void {
    if (this.#paused) return
    this.#paused = true
    for (const reader of this.#readers.values()) void reader.interrupt()
    this.#armTick(PAUSE_GRACE_MS)
  }

  resume(): void {
    if (!this.#paused) return
    this.#paused = false
    for (const membership of this.#memberships.values()) membership.paused = false
    this.#armTick(0)
    this.#handOut()
    this.wake()
  }

  get #takes(): boolean {
    return !this.#paused && !this.#drained && !this.closed
  }

  room(): number {
    if (!this.#takes || this.#credit <= 0 || this.#bytes <= 0) return 0
    const byBytes = this.#averageBytes === 0 ? FIRST_READ : Math.ceil(this.#bytes / this.#averageBytes)
    return Math.min(this.#credit, byBytes)
  }

  wake(): void {
    this.#claimer.wake()
    for (const reader of this.#readers.values()) reader.refresh()
  }

  // --- deliveries --------------------------------------------------------------------------------------------------

  offer(source: Source, deliveries: readonly RedisDelivery[]): void {
    for (const delivery of deliveries) {
      this.#averageBytes += (delivery.bytes - this.#averageBytes) * (this.#averageBytes === 0 ? 1 : 0.05)
      if (source.ready.length === 0 && this.#canHand(source)) this.#hand(source, delivery)
      else {
        source.ready.push(delivery)
        this.#stocked.add(source)
      }
    }
  }

  deliver(): void {
    if (this.#batch.length > 0) {
      const batch = this.#batch
      this.#batch = []
      this.#sink.receive(batch)
    }
    if (!this.owned && this.#stocked.size > 0) this.#shed()
  }

  putBack(source: Source, { id, message, attempt }: RedisDelivery): void {
    source.putBack(new RedisDelivery(source, id, message, attempt, 0))
    this.#stocked.add(source)
  }

  #canHand(source: Source): boolean {
    return this.#takes && this.#credit > 0 && this.#bytes > 0 && source.partition.phase === 'held'
  }

  #hand(source: Source, delivery: RedisDelivery): void {
    this.#credit--
    this.#bytes -= delivery.bytes
    delivery.listed = true
    source.outstanding.push(delivery)
    this.#batch.push(delivery)
  }

  /** Hands over what waits here, as far as credit goes. */
  #handOut(): void {
    for (const source of this.#stocked) {
      let count = 0
      while (count < source.ready.length && this.#canHand(source))
        this.#hand(source, source.ready[count++] as RedisDelivery)
      source.ready.splice(0, count)
      if (source.ready.length === 0) this.#stocked.delete(source)
    }
    this.deliver()
  }

  /** Without owners, what can't be handled here is for others to have at once. */
  #shed(): void {
    for (const source of this.#stocked) {
      this.#stocked.delete(source)
      handBack(this, source, source.takeReady()).then(
        () => this.#claimer.expect(source, 0),
        (error: unknown) => {
          this.#claimer.recover(source, 'mine')
          if (!(error instanceof LostReplyError || error instanceof NotSentError))
            this.tellError(error, `handing back to ${source.stream}`)
        },
      )
    }
  }

  lose(partition: PartitionState, reason: string): void {
    partition.phase = 'idle'
    partition.generation = ''
    for (const source of partition.sources) this.#stocked.delete(source)
    const lost = partition.takeBack()
    this.#readerOf(partition)
      .remove(partition)
      .catch((error: unknown) => this.tellError(error, 'stopping to read a partition'))
    if (lost.length > 0) this.#sink.lost(lost, reason)
  }

  repair(partition: PartitionState): void {
    const membership = this.#memberships.get(partition.keys.topic)
    if (membership === undefined || this.#repairing.has(partition)) return
    this.#repairing.add(partition)
    membership
      .repair(partition)
      .catch((error: unknown) => {
        this.#armTick(MIN_TICK_MS * 20)
        if (!(error instanceof LostReplyError || error instanceof NotSentError))
          this.tellError(error, `making group "${this.spec.group}" again`)
      })
      .finally(() => this.#repairing.delete(partition))
  }

  // --- settling ----------------------------------------------------------------------------------------------------

  async settle(batch: readonly Settlement[]): Promise<readonly SettlementFailure[]> {
    const failures = await this.#settlements.settle(batch)
    // What was handed back untouched may come again at once, if there is credit.
    if (this.owned && this.#stocked.size > 0) this.#handOut()
    return failures
  }

  async extend(deliveries: readonly Delivery[]): Promise<void> {
    const bySource = new Map<Source, RedisDelivery[]>()
    for (const delivery of deliveries as readonly RedisDelivery[]) {
      if (delivery.lost || delivery.settled) continue
      const list = bySource.get(delivery.source)
      if (list === undefined) bySource.set(delivery.source, [delivery])
      else list.push(delivery)
    }
    await Promise.all([...bySource].map(([source, list]) => this.#extend(source, list)))
  }

  async #extend(source: Source, deliveries: readonly RedisDelivery[]): Promise<void> {
    const { scripts, options, host } = this.context
    const heldUntil = host.clock.monotonic() + options.leaseMs
    const { generation } = deliveries[0] as RedisDelivery
    const refused = (await scripts.run(
      EXTEND,
      [source.stream, source.partition.group.meta],
      [this.spec.group, generation, this.member, ...deliveries.map(({ id }) => id)],
    )) as readonly number[]
    const lost = new Set(refused.map((place) => deliveries[place] as RedisDelivery).filter(({ settled }) => !settled))
    for (const delivery of deliveries) if (!lost.has(delivery)) delivery.heldUntil = heldUntil
    for (const delivery of lost) {
      delivery.lost = true
      if (delivery.listed) source.outstanding.remove(delivery)
      delivery.listed = false
    }
    if (lost.size > 0) this.#sink.lost([...lost], 'another member has claimed it, because its lease ran out')
  }

  async noteAttempt(delivery: Delivery, attempt: number): Promise<void> {
    const { source, generation, id, lost, settled } = delivery as RedisDelivery
    if (lost || settled) return
    await this.context.scripts.run(
      NOTE_ATTEMPT,
      [source.stream, source.partition.group.meta],
      [this.spec.group, generation, this.member, id, String(attempt)],
    )
  }

  // --- time --------------------------------------------------------------------------------------------------------

  #pollMs(): number {
    return this.context.options.pollMs * (0.8 + Math.random() * 0.4)
  }

  /** Comes back no later than in so many ms. */
  #armTick(ms: number): void {
    if (this.#leaving) return
    const { clock } = this.context.host
    const at = clock.monotonic() + Math.max(MIN_TICK_MS, ms)
    if (at >= this.#tickAt) return
    this.#tickTimer?.cancel()
    this.#tickAt = at
    this.#tickTimer = clock.setTimer(Math.max(MIN_TICK_MS, ms), () => {
      this.#tickAt = Infinity
      // One at a time; when it ends, the next is armed anyway.
      this.#ticking ??= this.#tick().finally(() => {
        this.#ticking = undefined
        this.#armTick(this.#pollMs())
      })
    })
  }

  async #tick(): Promise<void> {
    for (const membership of this.#memberships.values()) membership.paused = this.#paused || this.#drained
    const results = await Promise.allSettled([...this.#memberships.values()].map((membership) => membership.tick()))
    for (const result of results) {
      if (result.status === 'fulfilled' || this.closed) continue
      const error: unknown = result.reason
      // Without a connection there is nothing to tell that the connection does not tell itself.
      if (!(error instanceof LostReplyError || error instanceof NotSentError))
        this.tellError(error, `keeping group "${this.spec.group}" alive`)
    }
    if (this.spec.ephemeral)
      for (const topic of this.#memberships.keys())
        await noteEphemeral(this.context, topic, this.spec.group).catch(() => {})
  }

  /** Looks after leases also while no tick gets through. */
  #armLeases(): void {
    if (!this.owned || this.closed) return
    const { options, host } = this.context
    this.#leaseTimer = host.clock.setTimer(options.leaseMs / 10, () => {
      for (const membership of this.#memberships.values()) membership.checkLeases()
      this.#armLeases()
    })
  }

  /** The group may have been moved from here: better to know now than at the next tick. */
  async check(topic: string): Promise<void> {
    if (!this.#memberships.has(topic)) return
    await this.#ticking
    await this.#memberships.get(topic)?.tick()
  }

  // --- end ---------------------------------------------------------------------------------------------------------

  /** Leases are renewed until the end: what is out can still be settled. */
  async drain(): Promise<void> {
    if (this.#drained) return
    this.#drained = true
    this.#stopDiscovery()
    this.#armTick(0)
    await Promise.all([...this.#readers.values()].map((reader) => reader.stop()))
    await this.#claimer.stop()
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    const { host, wire } = this.context
    let giveUp: () => void = () => {}
    const late = new Promise<void>((resolve) => {
      giveUp = resolve
    })
    const timer = host.clock.setTimer(GOODBYE_MS, giveUp)
    // Without a connection, or with a server that does not answer, the leases end by themselves.
    await Promise.race([this.#leave(wire.connected), late])
    timer.cancel()
    this.closed = true
    for (const reader of this.#readers.values()) reader.abandon()
  }

  async #leave(connected: boolean): Promise<void> {
    await this.drain()
    this.#leaving = true
    this.#tickTimer?.cancel()
    this.#leaseTimer?.cancel()
    this.closed = true
    await this.#ticking?.catch(() => {})
    await Promise.all(this.#joining)
    const unsettled = [...this.#memberships.values()].flatMap(({ partitions }) =>
      partitions.map((partition) => partition.takeBack()),
    )
    if (!connected) return
    try {
      if (this.spec.ephemeral) {
        for (const { topic, partitions } of this.#memberships.values())
          await removeEphemeral(this.context, topic, this.spec.group, partitions.length)
        return
      }
      for (const deliveries of unsettled) await this.#giveUp(deliveries)
      await Promise.all([...this.#memberships.values()].map((membership) => membership.leave()))
    } catch (error) {
      if (!(error instanceof LostReplyError || error instanceof NotSentError))
        this.tellError(error, `leaving group "${this.spec.group}"`)
    }
  }

  /** A handler may have begun with them, so it counts. */
  async #giveUp(deliveries: readonly RedisDelivery[]): Promise<void> {
    for (const source of new Set(deliveries.map((delivery) => delivery.source)))
      await handBack(
        this,
        source,
        deliveries.filter((delivery) => delivery.source === source),
        true,
      )
  }

  tellLoss(source: Source, ids: readonly string[]): void {
    const { host } = this.context
    const { topic, partition } = source.partition.keys
    host.events.emit('loss', {
      transport: host.name,
      topic,
      group: this.spec.group,
      count: ids.length,
      position: { partition, id: ids[0] as string },
      reason: 'deleted from the stream while the group had them pending',
    })
  }

  tellError(error: unknown, doing: string): void {
    const { host } = this.context
    if (!this.closed) host.events.emit('error', { transport: host.name, error: toTold(error), doing })
  }
}

/** A permission that is missing is told as what it is. */
function toTold(error: unknown): unknown {
  return isAuthorizationFailure(error)
    ? new AuthorizationError(`Redis does not allow it: ${messageOf(error)}`, { cause: error })
    : error
}
