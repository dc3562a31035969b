// Longer than most files: each way to settle must agree with the others on what happens when a reply is lost or refused.
import { sleep } from '../../../core/clock.ts'
import { PublishError, SettlementError } from '../../../core/errors.ts'
import type { OutgoingMessage } from '../../../core/message.ts'
import { tooLarge } from '../../../core/publish/size-limit.ts'
import type { Settlement, SettlementFailure } from '../../../core/transport.ts'
import type { Claimer } from './claimer.ts'
import { storeNotes } from './attempt-notes.ts'
import { isPassing, LostReplyError, messageOf, replyCode, toPublishError } from '../errors.ts'
import { surelyOursUntil } from './release.ts'
import { baseTopic } from '../topology/keys.ts'
import { partitionOf } from '../topology/partitioner.ts'
import { ACK, ACK_HELD, DEAD_LETTER, RELEASE_ENTRIES } from '../scripts/settle.ts'
import type { Script } from '../scripts/script.ts'
import type { Arg } from '../connection/given-client.ts'
import type { MemberContext } from './member-context.ts'
import type { RedisDelivery, Source } from './source.ts'

const NO_FAILURES: readonly SettlementFailure[] = Object.freeze([])
/** Maximum number of entries in one script, which blocks the server while it runs. */
const CHUNK = 1_000
const AGAIN_MS = 100
const MAX_AGAIN_MS = 1_000
const FENCED = 'FENCED the partition has another owner'

interface Item {
  readonly index: number
  readonly delivery: RedisDelivery
}

interface HandedBack extends Item {
  readonly delayMs: number
  /** Attempts used. */
  readonly used: number
  /** The next attempt must not start before that time; 0 for none. */
  readonly notBefore: number
}

interface AckGroup {
  readonly source: Source
  readonly items: readonly Item[]
}

/** What one batch does to one stream. */
class SourceWork {
  readonly source: Source
  readonly acks: Item[] = []
  /** Their lease may have expired, so another member may have them. */
  readonly doubtful: Item[] = []
  readonly backs: HandedBack[] = []
  /** They stay here, at their place in the order; their attempts must be noted first. */
  readonly kept: HandedBack[] = []
  readonly dead: (Item & { readonly deadLetter: OutgoingMessage })[] = []

  constructor(source: Source) {
    this.source = source
  }
}

/**
 * Settles batches: one command for all acks of a stream. Every command is fenced by the generation of the group and may
 * be run twice, so it is simply sent again when its reply was lost with the connection.
 */
export class Settlements {
  readonly #member: MemberContext
  readonly #claimer: Claimer

  constructor(member: MemberContext, claimer: Claimer) {
    this.#member = member
    this.#claimer = claimer
  }

  async settle(batch: readonly Settlement[]): Promise<readonly SettlementFailure[]> {
    const failures: SettlementFailure[] = []
    const work = new Map<Source, SourceWork>()
    let last: SourceWork | undefined
    const now = this.#member.context.host.clock.monotonic()
    for (let index = 0; index < batch.length; index++) {
      const settlement = batch[index] as Settlement
      const delivery = settlement.delivery as RedisDelivery
      const refusal = refusalOf(delivery)
      if (refusal !== undefined) {
        failures.push({ index, error: refusal })
        continue
      }
      delivery.settled = true
      if (last?.source !== delivery.source) {
        last = work.get(delivery.source)
        if (last === undefined) work.set(delivery.source, (last = new SourceWork(delivery.source)))
      }
      this.#sort(last, { index, delivery }, settlement.outcome, now)
    }
    const running: Promise<void>[] = []
    this.#start(work.values(), failures, running)
    await Promise.all(running)
    if (failures.length === 0) return NO_FAILURES
    return failures.sort((a, b) => a.index - b.index)
  }

  #sort(work: SourceWork, item: Item, outcome: Settlement['outcome'], now: number): void {
    const { owned } = this.#member
    const { delivery } = item
    switch (outcome.type) {
      case 'nack':
      case 'release': {
        const used = outcome.type === 'nack' ? delivery.attempt : delivery.attempt - 1
        const { delayMs, inOrder = false } = outcome
        const here = owned && delivery.source.partition.phase === 'held'
        const notBefore = inOrder && delayMs > 0 ? Math.ceil(this.#member.context.host.clock.now() + delayMs) : 0
        const back = { ...item, delayMs: inOrder ? 0 : delayMs, used, notBefore }
        if (!here || (!inOrder && (outcome.type === 'nack' || delayMs > 0))) work.backs.push(back)
        else if (used === 0 && notBefore === 0 && !delivery.noted) this.#putBack(back)
        else work.kept.push(back)
        return
      }
      case 'reject':
        if (outcome.deadLetter !== undefined) {
          work.dead.push({ ...item, deadLetter: outcome.deadLetter })
          return
        }
        break
      case 'ack':
    }
    if (owned || now < delivery.heldUntil) work.acks.push(item)
    else work.doubtful.push(item)
  }

  /** No other member may have it while the partition is ours: it waits here, at its place in the order. */
  #putBack({ delivery, used, notBefore }: HandedBack): void {
    const { source } = delivery
    if (delivery.listed) source.outstanding.remove(delivery)
    delivery.listed = false
    this.#member.credit.putBack(source, delivery, {
      attempt: used + 1,
      history: 'returned',
      notBefore: notBefore === 0 ? undefined : notBefore,
      noted: used > 0 || notBefore > 0,
    })
  }

  #start(works: Iterable<SourceWork>, failures: SettlementFailure[], running: Promise<void>[]): void {
    let acks: AckGroup[] = []
    let count = 0
    for (const { source, acks: items, doubtful, backs, kept, dead } of works) {
      for (let at = 0; at < items.length; at += CHUNK) {
        const chunk = items.length <= CHUNK ? items : items.slice(at, at + CHUNK)
        // In a cluster each stream needs a separate command.
        if (acks.length > 0 && (this.#member.context.commands.cluster || count + chunk.length > CHUNK)) {
          running.push(this.#ackAll(acks, failures))
          acks = []
          count = 0
        }
        acks.push({ source, items: chunk })
        count += chunk.length
      }
      for (let at = 0; at < doubtful.length; at += CHUNK) {
        const chunk = doubtful.slice(at, at + CHUNK)
        running.push(this.#run(source, chunk, failures, () => this.#ackHeld(source, chunk)))
      }
      for (let at = 0; at < backs.length; at += CHUNK) {
        const chunk = backs.slice(at, at + CHUNK)
        running.push(this.#run(source, chunk, failures, (again) => this.#releaseDeliveries(source, chunk, again)))
      }
      for (let at = 0; at < kept.length; at += CHUNK) {
        const chunk = kept.slice(at, at + CHUNK)
        running.push(this.#keep(source, chunk, failures))
      }
      for (const item of dead)
        running.push(
          this.#run(source, [item], failures, (again) => this.#deadLetter(item.delivery, item.deadLetter, again)),
        )
    }
    if (acks.length > 0) running.push(this.#ackAll(acks, failures))
  }

  /** One command for the acks of many streams. */
  async #ackAll(groups: readonly AckGroup[], failures: SettlementFailure[]): Promise<void> {
    const keys: string[] = []
    const args: string[] = [this.#member.spec.group]
    for (const { source, items } of groups) {
      keys.push(source.stream, source.partition.group.meta, source.notes)
      const first = args.push(
        (items[0] as Item).delivery.generation,
        source.isSide ? '1' : '0',
        String(items.length),
        '0',
      )
      let noted = 0
      for (const { delivery } of items) {
        args.push(delivery.id)
        if (delivery.noted) noted++
      }
      if (noted === 0) continue
      args[first - 1] = String(noted)
      for (const { delivery } of items) if (delivery.noted) args.push(delivery.id)
    }
    let counts: readonly number[]
    try {
      const all = groups.flatMap(({ items }) => items)
      counts = await this.#persist(all, () => this.#member.context.scripts.run(ACK, keys, args) as Promise<number[]>)
    } catch (error) {
      for (const { source, items } of groups) this.#failed(source, items, failures, error)
      return
    }
    for (const [place, { source, items }] of groups.entries()) {
      const count = counts[place] as number
      if (count < 0) {
        this.#failed(source, items, failures, new Error(FENCED))
        continue
      }
      // Sent again, or removed by an administrator; or our consumer was deleted, with everything in flight.
      if (count < items.length) source.partition.repair()
      for (const { delivery } of items) this.#done(delivery)
      source.partition.notifyQuiet()
    }
  }

  /** Runs one command for these items, again if necessary, and records the outcome of each. */
  async #run(
    source: Source,
    items: readonly Item[],
    failures: SettlementFailure[],
    command: (again: boolean) => Promise<readonly number[]>,
  ): Promise<void> {
    let error: unknown
    let refused: readonly number[] = []
    try {
      refused = await this.#persist(items, command)
    } catch (caught) {
      error = caught
    }
    if (error !== undefined) {
      this.#failed(source, items, failures, error)
      return
    }
    for (const place of refused) {
      const { index, delivery } = items[place] as Item
      failures.push({ index, error: takenBack() })
      delivery.lost = true
    }
    for (const { delivery } of items) this.#done(delivery)
    source.partition.notifyQuiet()
  }

  /** Notes their attempts, and puts them back at their place. */
  async #keep(source: Source, items: readonly HandedBack[], failures: SettlementFailure[]): Promise<void> {
    const notes = items.map(({ delivery, used, notBefore }) => ({
      delivery,
      used,
      running: false,
      notBefore: notBefore === 0 ? undefined : notBefore,
    }))
    // Until they are back, nothing of the source is handed over: it might overtake them.
    source.keeping++
    try {
      await this.#persist(items, async () => {
        await storeNotes(this.#member, notes)
        return []
      })
    } catch (error) {
      if (replyCode(error) === undefined) {
        this.#failed(source, items, failures, error)
        return
      }
      // Refused: then only a crash loses the note. Taken for lost, they would be overtaken by what waits behind them.
      this.#member.reportError(error, `noting the attempts of ${source.stream}`)
    } finally {
      source.keeping--
    }
    // Given up meanwhile: other members then find them with their notes.
    const here = source.partition.phase === 'held'
    for (const item of items)
      if (item.delivery.lost) this.#done(item.delivery)
      else if (here) this.#putBack(item)
    if (!here) {
      const left = items.filter(({ delivery }) => !delivery.lost)
      if (left.length > 0)
        await this.#run(source, left, failures, (again) => this.#releaseDeliveries(source, left, again))
    }
    source.partition.notifyQuiet()
  }

  async #persist(
    items: readonly Item[],
    command: (again: boolean) => Promise<readonly number[]>,
  ): Promise<readonly number[]> {
    let again = false
    for (let pause = AGAIN_MS; ; pause = Math.min(MAX_AGAIN_MS, pause * 2)) {
      try {
        return await command(again)
      } catch (error) {
        this.#member.context.reports.refused(error)
        const isLost = error instanceof LostReplyError
        const isDeleted = replyCode(error) === 'NOGROUP'
        const passing = (isLost || isDeleted || isPassing(error)) && !this.#member.closed
        // Lost meanwhile: it may belong to another member by now.
        if (!passing || items.every(({ delivery }) => delivery.lost)) throw error
        if (isDeleted) for (const { delivery } of items) delivery.source.partition.repair()
        again ||= isLost
        await sleep(this.#member.context.host.clock, pause)
      }
    }
  }

  #failed(source: Source, items: readonly Item[], failures: SettlementFailure[], error: unknown): void {
    const code = replyCode(error)
    const fenced = code === 'FENCED'
    for (const { index, delivery } of items) {
      if (fenced || delivery.lost) failures.push({ index, error: takenBack(error) })
      else if (PublishError.is(error)) {
        // The dead letter was refused; its source is still ours and may be settled in another way.
        delivery.settled = false
        failures.push({ index, error })
        continue
      } else
        failures.push({
          index,
          error: new SettlementError(`Redis did not take the settlement: ${messageOf(error)}`, { cause: error }),
        })
      this.#done(delivery)
    }
    source.partition.notifyQuiet()
    if (source.partition.phase === 'idle') return
    if (fenced && items.some(({ delivery }) => delivery.generation === source.partition.generation))
      source.partition.lose('the group was moved, or another member has taken the partition over')
    // Still pending there, but no longer known here: look for it at once, or it would wait for a lease.
    else if (!fenced && !PublishError.is(error)) this.#claimer.recover(source, this.#member.owned ? 'all' : 'mine')
  }

  #done(delivery: RedisDelivery): void {
    // The member that took it back has removed it already.
    if (delivery.listed) delivery.source.outstanding.remove(delivery)
    delivery.listed = false
  }

  // --- commands: each resolves with the places of items that are not ours ------------------------------------------

  #ackHeld(source: Source, items: readonly Item[]): Promise<readonly number[]> {
    const ids = items.map(({ delivery }) => delivery.id)
    return this.#script(
      ACK_HELD,
      source,
      items,
      [source.isSide ? '1' : '0', this.#member.consumer, ...ids],
      source.notes,
    )
  }

  async #releaseDeliveries(source: Source, items: readonly HandedBack[], again: boolean): Promise<readonly number[]> {
    const { consumer, owned } = this.#member
    const args: string[] = [consumer]
    let soonest = Infinity
    for (const { delivery, delayMs, used, notBefore } of items) {
      // Without an owner, another member may have had it since the first time.
      const oursUntil = again && !owned ? '0' : surelyOursUntil(this.#member, delivery)
      args.push(delivery.id, String(Math.ceil(delayMs)), String(used), String(notBefore), oursUntil)
      soonest = Math.min(soonest, delayMs)
    }
    const refused = await this.#script(RELEASE_ENTRIES, source, items, args, source.later, source.notes)
    this.#claimer.expect(source, soonest)
    return refused
  }

  #script(
    script: Script,
    source: Source,
    items: readonly Item[],
    args: readonly Arg[],
    ...keys: readonly string[]
  ): Promise<readonly number[]> {
    const { context, spec } = this.#member
    const generation = (items[0] as Item).delivery.generation
    return context.scripts.run(
      script,
      [source.stream, source.partition.group.meta, ...keys],
      [spec.group, generation, ...args],
    ) as Promise<readonly number[]>
  }

  async #deadLetter(delivery: RedisDelivery, deadLetter: OutgoingMessage, again: boolean): Promise<readonly number[]> {
    const { context, spec, consumer } = this.#member
    const { source, id, generation } = delivery
    const { maxMessageBytes } = context.options
    const oursUntil = again ? '0' : surelyOursUntil(this.#member, delivery)
    const error = tooLarge(deadLetter, maxMessageBytes, 'redis')
    if (error !== undefined) throw error
    try {
      const partitions = await context.topics.register(deadLetter.topic)
      const beside = baseTopic(deadLetter.topic) === baseTopic(source.partition.keys.topic)
      const partition = beside
        ? source.partition.keys.partition
        : deadLetter.key === undefined
          ? 0
          : partitionOf(deadLetter.key, partitions)
      const target = context.keys.partition(deadLetter.topic, partition).stream
      const fields = context.mapping.fields(deadLetter)
      if (!beside && context.commands.cluster) {
        // No step can span two servers: the dead letter first, so that it exists twice rather than not at all.
        await context.commands.call(target, ['XADD', target, '*', ...fields])
        return await this.#ackHeld(source, [{ index: 0, delivery }])
      }
      await context.scripts.run(
        DEAD_LETTER,
        [source.stream, source.partition.group.meta, target, source.notes],
        [spec.group, generation, consumer, id, source.isSide ? '1' : '0', oursUntil, ...fields],
      )
      return []
    } catch (error) {
      const code = replyCode(error)
      if (code === undefined || code === 'FENCED' || code === 'NOGROUP' || isPassing(error)) throw error
      throw toPublishError(error, deadLetter.topic)
    }
  }
}

function refusalOf(delivery: RedisDelivery): SettlementError | undefined {
  if (delivery.lost) return takenBack()
  return delivery.settled ? new SettlementError('The delivery has been settled before') : undefined
}

function takenBack(cause?: unknown): SettlementError {
  return new SettlementError('The delivery was taken back; the message is delivered again', { cause })
}
