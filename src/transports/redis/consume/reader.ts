import { sleep } from '../../../core/clock.ts'
import type { Timer } from '../../../core/clock.ts'
import { patternsOverlap } from '../../../core/topic.ts'
import { settledWithin } from '../../../core/util/settled-within.ts'
import { endConnection } from '../connection/connection-identity.ts'
import type { ConnectionIdentity } from '../connection/connection-identity.ts'
import type { RedisContext } from '../context.ts'
import { isPassing, LostReplyError, NotSentError, replyCode } from '../errors.ts'
import type { Arg } from '../connection/given-client.ts'
import type { Connection } from '../connection/connection.ts'
import { explainWrongType } from '../connection/wrong-type.ts'
import type { PartitionState } from '../partitions/partition-state.ts'
import type { ReadDemand, ReadPlan } from './read-demand.ts'
import { readerName } from './reader-name.ts'
import { RedisDelivery } from './source.ts'
import type { Source } from './source.ts'

const MAX_BLOCK_MS = 5_000
/** Where the ACL forbids unblocking a read, the read must end by itself soon. */
const UNWAKEABLE_BLOCK_MS = 250
const RETRY_MS = 200
/** While reads of several members fail and those of each one do not. */
const MAX_RETRY_MS = 2_000
const UNBLOCK_AGAIN_MS = 5
/** A key of the wrong type is looked at again after this time. */
const EXPLAIN_AGAIN_MS = 5_000

/** What is read for one member. */
interface Wish {
  readonly demand: ReadDemand
  readonly plan: ReadPlan
}

/** One XREADGROUP. */
interface Command {
  readonly wishes: readonly Wish[]
  readonly count: number
  /** 0: does not block. */
  readonly blockMs: number
}

/** The commands in progress. */
interface Round {
  readonly sources: ReadonlySet<Source>
  readonly blocks: boolean
  readonly done: Promise<void>
  interrupting: Promise<void> | undefined
}

/** A stream of a command, as it was when the command was sent. */
interface Asked {
  readonly wish: Wish
  readonly source: Source
  readonly generation: string
}

type Entries = readonly (readonly [Buffer, readonly Buffer[]])[]
type Reply = readonly (readonly [Buffer, Entries])[] | null

export interface ReaderParts {
  readonly context: RedisContext
  readonly group: string
  /** The name of the consumer in Redis. */
  readonly consumer: string
  /** Decides the server in a cluster. */
  readonly key: string
  /** No member is left, or it could not connect: it is used no more. */
  readonly onEnd: (reader: Reader) => void
}

/**
 * Reads new entries for members of a group that have different topics, on one connection, because its commands block.
 * Usually one command names the streams of all members. What a member may take beyond the others is read separately, and
 * so are all of them while such a command fails, so that the trouble of one stream is that of one member.
 */
export class Reader {
  readonly consumer: string
  readonly #parts: ReaderParts
  readonly #demands = new Set<ReadDemand>()
  /** What its members read, or have read: the name of a consumer is never used twice for one topic. */
  readonly #topics = new Set<string>()
  readonly #connection: Connection
  readonly #started: Promise<void>
  #usable = false
  #wakeable = true
  #round: Round | undefined
  /** Ends the read of a lost connection at the server; and the last connection for which that was done. */
  #endingLost: Promise<void> | undefined
  #endedLost: ConnectionIdentity | undefined
  #woken: (() => void) | undefined
  /** Nothing is read for these for a moment, because a read has failed. */
  readonly #deferred = new Map<ReadDemand, Timer>()
  #stopped = false
  #loop: Promise<void> = Promise.resolve()
  /** Why reads of a member fail: a key has the wrong type. */
  readonly #wrongTypes = new WeakMap<ReadDemand, { readonly explained: Promise<unknown>; readonly at: number }>()
  /** Number of consecutive reads for several members that failed, although a read for each of them does not. */
  #unexplained = 0

  /** Connects, and reads from then on. */
  constructor(parts: ReaderParts) {
    const { context, key, consumer, group } = parts
    this.#parts = parts
    this.consumer = consumer
    this.#connection = context.commands.dedicated(key, {
      onUp: (connection) => {
        if (connection.identity === undefined) this.#wakeable = false
        this.#usable = true
        for (const demand of this.#demands) demand.onConnected()
        this.wake()
      },
      onDown: () => {
        this.#usable = false
      },
      onTrouble: (error) => {
        // Otherwise the other connection has the same trouble, and reports it.
        if (!context.commands.connected) return
        for (const { member } of this.#demands) member.reportError(error, `connecting to read for group "${group}"`)
      },
      onForbidden: () => context.reports.killForbidden(),
    })
    this.#started = this.#connection.open().then(
      () => {
        this.#loop = this.#run()
      },
      (error: unknown) => {
        this.#end()
        throw error
      },
    )
    // Whoever joined hears of it.
    this.#started.catch(() => {})
  }

  /** Its connection and its consumer, for those who take over what it reads. */
  get name(): string {
    return readerName(this.#usable ? this.#connection.identity : undefined, this.consumer)
  }

  /** Number of streams that its members may read at once. */
  get streams(): number {
    let streams = 0
    for (const demand of this.#demands) streams += demand.streams
    return streams
  }

  /** It has read no topic of that pattern before. */
  isFreeFor(topic: string): boolean {
    for (const known of this.#topics) if (patternsOverlap(known, topic)) return false
    return true
  }

  join(demand: ReadDemand): void {
    this.#demands.add(demand)
    this.#topics.add(demand.member.spec.topic)
  }

  /** Resolves when it has connected for the first time; rejects when that fails. */
  connected(): Promise<void> {
    return this.#started
  }

  /** A source of this member may have become readable: a blocking read without it must be restarted. */
  refresh(demand: ReadDemand): void {
    const round = this.#round
    const isMissed = (source: Source): boolean => round?.sources.has(source) === false
    if (round?.blocks === true && !this.#deferred.has(demand) && demand.wanted().some(isMissed))
      void this.#interruptRound(round)
    this.wake()
  }

  wake(): void {
    this.#woken?.()
  }

  /** Ends a blocking read of one of these, without losing what it may have received. Resolves when it has ended at the server as well. */
  async interrupt(partitions: Iterable<PartitionState>): Promise<void> {
    const round = this.#round
    if (round !== undefined && namesOne(round, partitions)) await this.#interruptRound(round)
    if (this.#leftMs() > 0)
      await (this.#endingLost ??= this.#endLostRead().finally(() => (this.#endingLost = undefined)))
  }

  /**
   * Ends the part of a member that takes no more messages; what was read until then has been offered. When no member is
   * left, closes the connection.
   */
  async leave(demand: ReadDemand): Promise<void> {
    // While the transport has no connection at all, a member gives up its partitions later, and ends its lost read then.
    if (this.#connection.up || this.#parts.context.commands.connected) await this.interrupt(demand.partitions)
    if (!this.#demands.delete(demand) || this.#demands.size > 0) return
    this.#end()
    await this.#loop
  }

  /** The same, whatever is in progress. */
  abandon(demand: ReadDemand): void {
    if (this.#demands.delete(demand) && this.#demands.size === 0) this.#end()
  }

  #end(): void {
    this.#stopped = true
    this.#parts.onEnd(this)
    for (const timer of this.#deferred.values()) timer.cancel()
    this.#connection.close()
    this.wake()
  }

  // --- the loop ----------------------------------------------------------------------------------------------------

  async #run(): Promise<void> {
    while (!this.#stopped) {
      const commands = this.#commands()
      if (commands.length === 0) {
        await new Promise<void>((resolve) => {
          this.#woken = resolve
        })
        this.#woken = undefined
      } else {
        const done = Promise.all(commands.map((command) => this.#carryOut(command))).then(() => {})
        const sources = commands.flatMap(({ wishes }) => wishes.flatMap(({ plan }) => plan.sources))
        const blocks = commands.some(({ blockMs }) => blockMs > 0)
        this.#round = { sources: new Set(sources), blocks, done, interrupting: undefined }
        await done
        this.#round = undefined
      }
    }
  }

  /** What to read now: blocks only if that is one command, with everything that may be read. */
  #commands(): readonly Command[] {
    if (!this.#usable) return []
    const commands: Command[] = []
    const together: Wish[] = []
    for (const demand of this.#demands) {
      const plan = this.#deferred.has(demand) ? undefined : demand.plan()
      if (plan === undefined) continue
      const wish = { demand, plan }
      if (plan.isTurn || demand.alone) commands.push({ wishes: [wish], count: plan.count, blockMs: 0 })
      else together.push(wish)
    }
    if (together.length > 0) {
      const count = together.reduce((least, { plan }) => Math.min(least, plan.count), Infinity)
      commands.push({ wishes: together, count, blockMs: commands.length > 0 ? 0 : this.#blockMs(together) })
    }
    return commands
  }

  /** No read may continue after the lease has ended: it would receive what belongs to another member. */
  #blockMs(wishes: readonly Wish[]): number {
    const longest = this.#wakeable ? MAX_BLOCK_MS : UNWAKEABLE_BLOCK_MS
    if (!wishes.some(({ demand }) => demand.member.owned)) return longest
    const { lease, host } = this.#parts.context
    return Math.max(1, Math.floor(Math.min(longest, lease.until - host.clock.monotonic())))
  }

  async #carryOut(command: Command): Promise<void> {
    const { context, group } = this.#parts
    const { wishes, count, blockMs } = command
    const args: Arg[] = ['XREADGROUP', 'GROUP', group, this.consumer, 'COUNT', String(count)]
    if (blockMs > 0) args.push('BLOCK', String(blockMs))
    args.push('STREAMS')
    const asked = new Map<string, Asked>()
    for (const wish of wishes)
      for (const source of wish.plan.sources)
        asked.set(source.stream, { wish, source, generation: source.partition.generation })
    for (const stream of asked.keys()) args.push(stream)
    for (let index = 0; index < asked.size; index++) args.push('>')
    // Delivered not before the command was sent.
    const heldUntil = context.host.clock.monotonic() + context.options.leaseMs
    try {
      const reply = (await this.#connection.call(args, undefined, blockMs)) as Reply
      this.#take(command, reply ?? [], asked, heldUntil)
      for (const { source } of asked.values()) source.partition.reads.readEnded()
      for (const { demand } of wishes) this.#wrongTypes.delete(demand)
      if (wishes.length > 1) this.#unexplained = 0
    } catch (error) {
      this.#failed(error, wishes)
    }
  }

  #take(
    { wishes, count }: Command,
    reply: NonNullable<Reply>,
    asked: ReadonlyMap<string, Asked>,
    heldUntil: number,
  ): void {
    // Stopped for longer than the lease, with this reply on its way: what is in it belongs to others.
    if (reply.length > 0 && wishes.some(({ demand }) => demand.member.owned)) this.#parts.context.lease.check()
    const found = new Map<Wish, (readonly [Asked, Entries])[]>()
    for (const [stream, entries] of reply) {
      const of = asked.get(stream.toString()) as Asked
      const list = found.get(of.wish)
      if (list === undefined) found.set(of.wish, [[of, entries]])
      else list.push([of, entries])
    }
    for (const wish of wishes) {
      const { demand, plan } = wish
      const streams = found.get(wish) ?? []
      // A member that was abandoned: what is pending in its name is given back by itself.
      if (!this.#demands.has(demand)) continue
      demand.brought(plan, streams.length)
      // More than that may be there, and this member could have it.
      demand.alone =
        (wishes.length === 1 ? demand.alone : count < plan.count) &&
        streams.some(([, entries]) => entries.length >= count)
      for (const [of, entries] of streams) this.#offer(of, entries, heldUntil)
      if (streams.length > 0) demand.member.credit.deliver()
    }
  }

  #offer({ wish, source, generation }: Asked, entries: Entries, heldUntil: number): void {
    const { member } = wish.demand
    const { topic, partition } = source.partition.keys
    // Lost while it was being read: its next owner finds these entries as pending.
    if (source.partition.generation !== generation) return
    const deliveries: RedisDelivery[] = []
    for (const [bytes, fields] of entries) {
      const id = bytes.toString('latin1')
      const message = member.entries.read(fields, { topic, partition, id })
      deliveries.push(new RedisDelivery(source, id, message, heldUntil, source.knownOf(id)))
    }
    const [first, last] = [deliveries[0], deliveries.at(-1)]
    if (!source.isSide && first !== undefined && last !== undefined) {
      source.partition.lastRead = last.id
      source.partition.reads.add(deliveries.length, first.id, last.id)
    }
    member.credit.offer(source, deliveries)
  }

  #failed(error: unknown, wishes: readonly Wish[]): void {
    const partitions = new Set(wishes.flatMap(({ plan }) => plan.sources.map(({ partition }) => partition)))
    if (error instanceof LostReplyError) for (const { reads } of partitions) reads.reset()
    if (this.#stopped || error instanceof NotSentError || error instanceof LostReplyError) return
    const { context, group, key } = this.#parts
    const code = replyCode(error)
    if (code === 'MOVED' || code === 'ASK' || code === 'CLUSTERDOWN') {
      this.#connection.drop(`the slot of ${key} is on another server`)
      return
    }
    if (isPassing(error)) {
      context.reports.refused(error)
      this.#defer(wishes)
      return
    }
    const [{ demand, plan }] = wishes as [Wish]
    if (wishes.length > 1) {
      // The error is that of one stream: the next round shows whose.
      for (const wish of wishes) wish.demand.alone = true
      this.#unexplained++
      if (this.#unexplained === 2) context.reports.error(error, `reading together for consumers of group "${group}"`)
      if (this.#unexplained > 1)
        this.#defer(wishes, Math.min(MAX_RETRY_MS, RETRY_MS * 2 ** Math.min(this.#unexplained - 2, 10)))
      return
    }
    this.#unexplained = 0
    this.#defer(wishes)
    // The message names one key of several; checking all of them is cheap, and rare.
    if (code === 'NOGROUP' || code === 'UNBLOCKED') for (const partition of partitions) partition.repair()
    else void this.#reportFailed(error, demand, plan)
  }

  /** If it fails again, it must not loop. */
  #defer(wishes: readonly Wish[], ms: number = RETRY_MS): void {
    const { clock } = this.#parts.context.host
    for (const { demand } of wishes)
      this.#deferred.set(
        demand,
        clock.setTimer(ms, () => {
          this.#deferred.delete(demand)
          this.refresh(demand)
        }),
      )
  }

  /** Not awaited: the others are read meanwhile. */
  async #reportFailed(failure: unknown, demand: ReadDemand, plan: ReadPlan): Promise<void> {
    demand.member.reportError(await this.#explained(failure, demand, plan), `reading group "${this.#parts.group}"`)
  }

  #explained(failure: unknown, demand: ReadDemand, { sources }: ReadPlan): Promise<unknown> {
    if (replyCode(failure) !== 'WRONGTYPE') return Promise.resolve(failure)
    const { commands, host } = this.#parts.context
    const now = host.clock.monotonic()
    const known = this.#wrongTypes.get(demand)
    // Each explanation costs a command for each stream.
    if (known !== undefined && now - known.at < EXPLAIN_AGAIN_MS) return known.explained
    const streams = sources.map(({ stream }) => stream)
    const explained = explainWrongType(commands, streams, failure).catch(() => {
      this.#wrongTypes.delete(demand)
      return failure
    })
    this.#wrongTypes.set(demand, { explained, at: now })
    return explained
  }

  // --- the connection ----------------------------------------------------------------------------------------------

  #interruptRound(round: Round): Promise<void> {
    round.interrupting ??= this.#interrupt(round)
    return round.interrupting
  }

  async #interrupt(round: Round): Promise<void> {
    const { context, key } = this.#parts
    const { commands, reports } = context
    while (
      this.#round === round &&
      round.blocks &&
      this.#connection.up &&
      this.#wakeable &&
      this.#connection.identity !== undefined
    ) {
      try {
        // 0: it is not blocked, because its command is still in transit or its reply on the way back.
        if (Number(await commands.call(key, ['CLIENT', 'UNBLOCK', this.#connection.identity.id])) === 1) break
      } catch (error) {
        if (error instanceof LostReplyError || error instanceof NotSentError) break
        if (isPassing(error)) {
          await Promise.race([round.done, sleep(context.host.clock, RETRY_MS)])
          continue
        }
        this.#wakeable = false
        reports.warnOnce(
          'redis-acl',
          'This user may not run CLIENT UNBLOCK: reads block for a short time only, which costs more commands. Allow +client|unblock.',
        )
        break
      }
      await Promise.race([round.done, sleep(context.host.clock, UNBLOCK_AGAIN_MS)])
    }
    await round.done
  }

  /** For how long the server may deliver messages to a read of a lost connection. */
  #leftMs(): number {
    return this.#connection.lostReadUntil - this.#parts.context.host.clock.monotonic()
  }

  /**
   * The server may not know that the connection was lost. A read that still blocks there would receive messages in the name of our
   * consumer when they belong to another member.
   */
  async #endLostRead(): Promise<void> {
    const { context, key } = this.#parts
    const { clock } = context.host
    const { identity } = this.#connection
    for (let leftMs = this.#leftMs(); leftMs > 0 && this.#endedLost !== identity; leftMs = this.#leftMs()) {
      const ending =
        identity === undefined
          ? Promise.resolve('forbidden')
          : endConnection((args) => context.commands.call(key, args), identity)
      try {
        const isAnswered = await settledWithin(clock, leftMs, ending)
        if (isAnswered && (await ending) === 'ended') this.#endedLost = identity
        // It may not be ended: it ends at its time limit.
        else if (isAnswered) await sleep(clock, leftMs)
      } catch (error) {
        // The transport is closed.
        if (error instanceof NotSentError) return
        await sleep(clock, error instanceof LostReplyError || isPassing(error) ? RETRY_MS : leftMs)
      }
    }
  }
}

function namesOne({ sources }: Round, partitions: Iterable<PartitionState>): boolean {
  for (const partition of partitions) if (partition.sources.some((source) => sources.has(source))) return true
  return false
}
