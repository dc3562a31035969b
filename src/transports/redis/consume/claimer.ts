import type { Timer } from '../../../core/clock.ts'
import { attemptsOf } from './attempt-notes.ts'
import { replyCode } from '../errors.ts'
import { CLAIM, CLAIM_DUE, PENDING, RECOVER_DELETED } from '../scripts/claim.ts'
import type { MemberContext } from './member-context.ts'
import { RedisDelivery } from './source.ts'
import type { Recovery, Source } from './source.ts'

const PAGE = 200
const RETRY_MS = 200

/** `[id, former consumer, note, fields]`, and the ids of missing entries; and how long until the next is due. */
type Claimed = readonly [readonly (readonly [Buffer, Buffer, Buffer, readonly Buffer[]])[], readonly Buffer[], number?]

/**
 * Recovers what was delivered before: after a partition changed owners, after a reply was lost, when a member died, and
 * when entries that were handed back are due. Takes no more than there is credit for.
 */
export class Claimer {
  readonly #member: MemberContext
  /** Sources with something to claim now. */
  readonly #waiting = new Set<Source>()
  /** Sources with something to claim later. */
  readonly #expected = new Set<Source>()
  #timer: Timer | undefined
  #timerAt = Infinity
  #running: Promise<void> | undefined
  #stopped = false

  constructor(member: MemberContext) {
    this.#member = member
  }

  /** Looks through the pending entries of a source. A kind that blocks reading is never replaced by one that does not. */
  recover(source: Source, kind: Recovery['kind']): void {
    // Nothing is pending in a stream that does not exist.
    if (source.missing) return
    if (source.recovery !== undefined && kind === 'orphans') return
    source.recovery = { kind, from: '-' }
    this.#waiting.add(source)
    this.wake()
  }

  /** Something of the source is due in that many ms (negative: nothing is). */
  expect(source: Source, inMs: number): void {
    if (inMs < 0) return
    const at = this.#member.context.host.clock.monotonic() + inMs
    if (at < source.dueAt) source.dueAt = at
    this.#expected.add(source)
    this.#arm(source.dueAt)
  }

  wake(): void {
    if (this.#waiting.size === 0 || this.#running !== undefined || this.#stopped) return
    if (this.#member.credit.room() <= 0) return
    this.#running = this.#run().finally(() => {
      this.#running = undefined
      this.#sweepDue()
      if (this.#waiting.size > 0 && this.#member.credit.room() > 0) this.wake()
    })
  }

  /** Stops permanently. Resolves when nothing is in progress any more. */
  async stop(): Promise<void> {
    this.#stopped = true
    this.#timer?.cancel()
    await this.#running
  }

  #arm(at: number): void {
    if (this.#stopped || at >= this.#timerAt) return
    const { clock } = this.#member.context.host
    this.#timer?.cancel()
    this.#timerAt = at
    // One millisecond more: timers and the server's clock both count whole ones.
    this.#timer = clock.setTimer(Math.max(0, at - clock.monotonic()) + 1, () => {
      this.#timer = undefined
      this.#timerAt = Infinity
      this.#sweepDue()
      this.wake()
    })
  }

  /** Lists whatever is due, and sets the timer for the next. */
  #sweepDue(): void {
    const now = this.#member.context.host.clock.monotonic()
    let next = Infinity
    for (const source of this.#expected) {
      if (source.partition.phase !== 'held' || source.dueAt === Infinity) this.#expected.delete(source)
      else if (source.dueAt <= now) this.#waiting.add(source)
      else next = Math.min(next, source.dueAt)
    }
    if (next < Infinity) this.#arm(next)
  }

  async #run(): Promise<void> {
    while (!this.#stopped && this.#member.credit.room() > 0) {
      const source = this.#waiting.values().next().value
      if (source === undefined) return
      // To the end of the line, unless it is done: no source keeps others from their turn.
      this.#waiting.delete(source)
      if (source.partition.phase !== 'held') continue
      try {
        const more = source.recovery === undefined ? await this.#claimDue(source) : await this.#recover(source)
        if (more) this.#waiting.add(source)
      } catch (error) {
        if (!this.#failed(source, error)) return
      }
    }
  }

  /**
   * Recovers entries lost with a consumer that was deleted: that of a dead owner, or ours while a reply to it was lost. True when there may be
   * more.
   */
  async #recoverDeleted(source: Source): Promise<boolean> {
    const { context, spec } = this.#member
    const { partition } = source
    const { former, generation } = partition
    if (former === undefined || former.floor === '') return false
    const [count, next] = (await context.scripts.run(
      RECOVER_DELETED,
      [source.stream, partition.group.meta],
      [spec.group, generation, former.consumer, former.floor, String(PAGE)],
    )) as readonly [number, Buffer]
    if (partition.former !== former) return true
    if (count > 0)
      context.reports.warn(
        'redis-consumer-deleted',
        `The consumer ${former.consumer || this.#member.consumer} of group "${spec.group}" on ${source.stream} was deleted with what it had pending, which no member had in hand (XGROUP DELCONSUMER). Which entries those were is unknown, so the ${count} after its last known position are delivered again`,
      )
    partition.former = String(next) === '' ? undefined : { consumer: former.consumer, floor: String(next) }
    return partition.former !== undefined
  }

  /** One page of pending entries. True when there is more to do. */
  async #recover(source: Source): Promise<boolean> {
    const { context, consumer, owned, spec } = this.#member
    const recovery = source.recovery as Recovery
    if (!source.isSide && recovery.kind === 'all' && (await this.#recoverDeleted(source))) return true
    if (!source.isSide && recovery.kind === 'all') source.partition.former = undefined
    if (source.recovery !== recovery) return source.recovery !== undefined
    const idle = recovery.kind === 'orphans' ? String(context.options.leaseMs) : '0'
    const page = (await context.scripts.run(
      PENDING,
      [source.stream, source.later],
      [spec.group, recovery.from, String(PAGE), idle],
    )) as readonly Buffer[]
    if (source.recovery !== recovery) return source.recovery !== undefined
    const held = source.held()
    const ids: string[] = []
    for (let at = 1; at + 1 < page.length; at += 2) {
      const id = String(page[at])
      const foreign = String(page[at + 1]) !== consumer
      if (!held.has(id) && (owned || recovery.kind === 'orphans' || !foreign)) ids.push(id)
    }
    const room = Math.max(1, this.#member.credit.room())
    const chosen = ids.slice(0, room)
    if (chosen.length > 0) await this.#claim(source, chosen, idle)
    if (source.recovery !== recovery) return source.recovery !== undefined
    if (chosen.length < ids.length) {
      recovery.from = `(${chosen.at(-1)}`
      return true
    }
    const last = String(page[0])
    if (last !== '') {
      recovery.from = `(${last}`
      return true
    }
    source.recovery = undefined
    this.#member.wake()
    return source.dueAt <= context.host.clock.monotonic()
  }

  async #claim(source: Source, ids: readonly string[], minIdle: string): Promise<void> {
    const { context, consumer, spec } = this.#member
    const { generation } = source.partition
    const heldUntil = this.#heldUntil()
    const claimed = (await context.scripts.run(
      CLAIM,
      [source.stream, source.partition.group.meta, source.later, source.notes],
      [spec.group, consumer, generation, minIdle, ...ids],
    )) as Claimed
    this.#take(source, claimed, generation, heldUntil)
  }

  /** True when there may be more that is due now. */
  async #claimDue(source: Source): Promise<boolean> {
    const { context, consumer, spec } = this.#member
    const { generation } = source.partition
    const count = Math.min(PAGE, this.#member.credit.room())
    source.dueAt = Infinity
    const heldUntil = this.#heldUntil()
    const claimed = (await context.scripts.run(
      CLAIM_DUE,
      [source.stream, source.partition.group.meta, source.later, source.notes],
      [spec.group, consumer, generation, String(count)],
    )) as Claimed
    this.#take(source, claimed, generation, heldUntil)
    const next = claimed[2] ?? -1
    if (next === 0) return true
    this.expect(source, next)
    return false
  }

  /** Claimed not before the command is sent. */
  #heldUntil(): number {
    const { host, options } = this.#member.context
    return host.clock.monotonic() + options.leaseMs
  }

  #take(source: Source, [entries, gone]: Claimed, generation: string, heldUntil: number): void {
    if (gone.length > 0) this.reportLoss(source, gone.map(String))
    if (this.#member.owned) this.#member.context.lease.check()
    // Lost or being handed over during the claim: the partition's next owner finds them. If they were kept here, they
    // would be handed out again when the partition comes back, although others have handled them.
    if (source.partition.generation !== generation || source.partition.phase !== 'held') return
    if (entries.length === 0) return
    const { entries: reader, consumer } = this.#member
    const { topic, partition } = source.partition.keys
    const held = source.held()
    const deliveries: RedisDelivery[] = []
    for (const [bytes, former, note, fields] of entries) {
      const id = bytes.toString('latin1')
      if (!source.isSide) source.partition.reads.see(id)
      // Claimed from ourselves: the event loop was blocked for longer than a lease, and no other member took it.
      if (held.has(id)) continue
      const message = reader.read(fields, { topic, partition, id })
      const known = attemptsOf(note.toString(), former.toString(), consumer)
      deliveries.push(new RedisDelivery(source, id, message, heldUntil, known))
    }
    this.#member.credit.offer(source, deliveries)
    this.#member.credit.deliver()
  }

  /** Entries that were pending are not in the stream any more. */
  reportLoss(source: Source, ids: readonly string[]): void {
    const { context, spec } = this.#member
    const { topic, partition } = source.partition.keys
    context.host.events.emit('loss', {
      transport: context.host.name,
      topic,
      group: spec.group,
      count: ids.length,
      position: { partition, id: ids[0] as string },
      reason: 'deleted from the stream while the group had them pending',
    })
  }

  /** False when it makes no sense to continue now. */
  #failed(source: Source, error: unknown): boolean {
    const { partition } = source
    const code = replyCode(error)
    if (code === 'FENCED') {
      partition.lose('the group was moved, or another member has taken the partition over')
      return true
    }
    if (code === 'NOGROUP') {
      partition.repair()
      return true
    }
    // A claim whose reply was lost may have been executed; then the entries are ours without our knowledge.
    if (partition.phase === 'held') this.recover(source, this.#member.owned ? 'all' : 'mine')
    this.#member.reportError(error, `claiming from ${source.stream}`)
    this.expect(source, RETRY_MS)
    this.#waiting.delete(source)
    return false
  }
}
