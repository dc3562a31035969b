import { isPassing, LostReplyError, NotSentError, replyCode } from '../errors.ts'
import type { Arg } from '../connection/given-client.ts'
import type { Connection } from '../connection/connection.ts'
import { explainWrongType } from '../connection/wrong-type.ts'
import type { PartitionState } from '../partitions/partition-state.ts'
import type { MemberContext } from './member-context.ts'
import { RedisDelivery } from './source.ts'
import type { Source } from './source.ts'

const MAX_BLOCK_MS = 5_000
/** Where the ACL forbids unblocking a read, the read must end by itself soon. */
const UNWAKEABLE_BLOCK_MS = 250
const MAX_COUNT = 1_000
const MIN_HALF = 256
/** A lease that ends this soon is renewed before reading under it. */
const LEASE_MARGIN = 0.1
const RETRY_MS = 200
const UNBLOCK_AGAIN_MS = 5
/** A key of the wrong type is looked at again after this time. */
const EXPLAIN_AGAIN_MS = 5_000

/** A read in progress. */
interface Read {
  readonly sources: ReadonlySet<Source>
  readonly blocks: boolean
  readonly done: Promise<void>
  interrupting: Promise<void> | undefined
}

interface Plan {
  readonly sources: readonly Source[]
  readonly count: number
  /** 0: does not block. */
  readonly blockMs: number
}

type Reply = readonly (readonly [Buffer, readonly (readonly [Buffer, readonly Buffer[]])[]])[] | null

/**
 * Reads new entries, on a separate connection because its commands block. One for all partitions, or one for each in a
 * cluster.
 */
export class Reader {
  readonly #seat: MemberContext
  readonly #key: string
  readonly #partitions = new Set<PartitionState>()
  readonly #connection: Connection
  readonly #onConnected: (reader: Reader) => void
  #byStream = new Map<string, Source>()
  #usable = false
  #wakeable = true
  #read: Read | undefined
  #woken: (() => void) | undefined
  #next = 0
  /** A source is not read because it holds its share. */
  #skipsFull = false
  /** Streams are read in turn, because one read of all of them brought more than there is credit for. */
  #byTurns = false
  /** Number of consecutive turns that found nothing. */
  #emptyTurns = 0
  #stopped = false
  #loop: Promise<void> = Promise.resolve()
  /** Why reads fail: a key has the wrong type. */
  #wrongType: { readonly explained: unknown; readonly at: number } | undefined

  /** `onConnected`: there is a new connection, and what an old one received without our knowledge must be found. */
  constructor(seat: MemberContext, key: string, onConnected: (reader: Reader) => void) {
    this.#seat = seat
    this.#key = key
    this.#onConnected = onConnected
    this.#connection = seat.context.commands.dedicated(key, {
      onUp: (connection) => {
        if (connection.identity === undefined) this.#wakeable = false
        this.#usable = true
        this.#onConnected(this)
        this.wake()
      },
      onDown: () => {
        this.#usable = false
      },
      onTrouble: (error) => {
        // Otherwise the other connection has the same trouble, and reports it.
        if (seat.context.commands.connected) seat.tellError(error, `connecting to read for group "${seat.spec.group}"`)
      },
      onForbidden: () => seat.context.reports.killForbidden(),
    })
  }

  /** Connects, and reads from then on. */
  async start(): Promise<void> {
    await this.#connection.open()
    this.#loop = this.#run()
  }

  /** The connection's id and address at the server; empty when unknown. */
  get connection(): string {
    const identity = this.#usable ? this.#connection.identity : undefined
    return identity === undefined || identity.address === '' ? '' : `${identity.id} ${identity.address}`
  }

  get partitions(): ReadonlySet<PartitionState> {
    return this.#partitions
  }

  /** Also reads from these, as soon as they are readable. */
  add(partition: PartitionState): void {
    this.#partitions.add(partition)
    this.refresh()
  }

  /** A source has become readable: a blocking read without it must be restarted. */
  refresh(): void {
    const read = this.#read
    if (read?.blocks === true && this.#sources().some((source) => !read.sources.has(source))) void this.interrupt()
    this.wake()
  }

  /** Something was settled: a source that was full may be readable again. */
  settled(): void {
    if (!this.#skipsFull) return
    this.#skipsFull = false
    this.refresh()
  }

  /** Stops reading from it. Resolves when no read that names it is in progress. */
  async remove(partition: PartitionState): Promise<void> {
    this.#partitions.delete(partition)
    if (partition.sources.some((source) => this.#read?.sources.has(source))) await this.interrupt()
  }

  wake(): void {
    this.#woken?.()
  }

  /** Ends a blocking read, without losing what it may have received. Resolves when it has ended. */
  interrupt(): Promise<void> {
    const read = this.#read
    if (read === undefined) return Promise.resolve()
    read.interrupting ??= this.#interrupt(read)
    return read.interrupting
  }

  /** Stops reading permanently; what was read until then has been offered. */
  async stop(): Promise<void> {
    this.#stopped = true
    this.wake()
    if (this.#connection.up) await this.interrupt()
    this.#connection.close()
    await this.#loop
  }

  /** Closes the connection, whatever is in progress. */
  abandon(): void {
    this.#stopped = true
    this.#connection.close()
    this.wake()
  }

  // --- the loop ----------------------------------------------------------------------------------------------------

  async #run(): Promise<void> {
    while (!this.#stopped) {
      const plan = this.#plan()
      if (plan === undefined) {
        await new Promise<void>((resolve) => {
          this.#woken = resolve
        })
        this.#woken = undefined
      } else {
        const done = this.#carryOut(plan)
        this.#read = { sources: new Set(plan.sources), blocks: plan.blockMs > 0, done, interrupting: undefined }
        await done
        this.#read = undefined
      }
    }
  }

  #sources(): Source[] {
    const found: Source[] = []
    const { context, owned } = this.#seat
    if (owned && context.lease.until <= context.host.clock.monotonic() + context.options.leaseMs * LEASE_MARGIN)
      return found
    for (const partition of this.#partitions) {
      if (partition.phase !== 'held') continue
      for (const source of partition.sources) if (source.readable && !this.#isFull(source)) found.push(source)
    }
    return found
  }

  /** It holds its share. It is read again when half of that has been settled, rather than for each message. */
  #isFull(source: Source): boolean {
    const { share } = this.#seat.credit
    const here = source.outstanding.size + source.ready.length
    source.full = source.full ? here > share / 2 : here >= share
    if (source.full) this.#skipsFull = true
    return source.full
  }

  #plan(): Plan | undefined {
    if (!this.#usable) return undefined
    // In halves, when those are large enough: the server reads the next one while this one is handled.
    const half = Math.max(MIN_HALF, Math.ceil(this.#seat.spec.prefetch / 2))
    const room = Math.min(MAX_COUNT, half, this.#seat.credit.room())
    if (room <= 0) return undefined
    const sources = this.#sources()
    if (sources.length === 0) return undefined
    if (sources.length <= room) return { sources, count: Math.floor(room / sources.length), blockMs: this.#blockMs() }
    // COUNT applies to each stream: with less credit than streams, what is read beyond it waits here; or, where it must
    // not wait because others could have it, streams with a backlog are read in turn.
    if (this.#seat.owned || !this.#byTurns || this.#emptyTurns >= sources.length) {
      this.#byTurns = false
      return { sources, count: 1, blockMs: this.#blockMs() }
    }
    const from = this.#next % sources.length
    const turn = [...sources.slice(from, from + room), ...sources.slice(0, Math.max(0, from + room - sources.length))]
    this.#next = from + room
    return { sources: turn, count: 1, blockMs: 0 }
  }

  /** No read may continue after the lease has ended: it would receive what belongs to another member. */
  #blockMs(): number {
    const longest = this.#wakeable ? MAX_BLOCK_MS : UNWAKEABLE_BLOCK_MS
    const { context, owned } = this.#seat
    if (!owned) return longest
    return Math.max(1, Math.floor(Math.min(longest, context.lease.until - context.host.clock.monotonic())))
  }

  async #carryOut({ sources, count, blockMs }: Plan): Promise<void> {
    const { spec, member } = this.#seat
    const args: Arg[] = ['XREADGROUP', 'GROUP', spec.group, member, 'COUNT', String(count)]
    if (blockMs > 0) args.push('BLOCK', String(blockMs))
    args.push('STREAMS')
    for (const { stream } of sources) args.push(stream)
    for (let index = 0; index < sources.length; index++) args.push('>')
    const generations = sources.map(({ partition }) => partition.generation)
    this.#byStream = new Map(sources.map((source) => [source.stream, source]))
    // Delivered not before the command was sent.
    const heldUntil = this.#seat.context.host.clock.monotonic() + this.#seat.context.options.leaseMs
    try {
      const reply = (await this.#connection.call(args, undefined, blockMs)) as Reply
      if (reply === null) {
        if (blockMs === 0) this.#emptyTurns += sources.length
      } else {
        this.#emptyTurns = 0
        if (reply.length > this.#seat.credit.room()) this.#byTurns = true
        this.#take(reply, sources, generations, heldUntil)
      }
      for (const { partition } of sources) partition.reads.readEnded()
      this.#wrongType = undefined
    } catch (error) {
      await this.#failed(error, sources)
    }
  }

  #take(
    reply: NonNullable<Reply>,
    sources: readonly Source[],
    generations: readonly string[],
    heldUntil: number,
  ): void {
    const { entries: reader, owned, context } = this.#seat
    // Stopped for longer than the lease, with this reply on its way: what is in it belongs to others.
    if (owned) context.lease.check()
    for (const [stream, entries] of reply) {
      const source = this.#byStream.get(stream.toString()) as Source
      const { topic, partition } = source.partition.keys
      // Lost while it was being read: its next owner finds these entries as pending.
      if (source.partition.generation !== generations[sources.indexOf(source)]) continue
      const deliveries: RedisDelivery[] = []
      for (const [bytes, fields] of entries) {
        const id = bytes.toString('latin1')
        const message = reader.read(fields, { topic, partition, id })
        deliveries.push(new RedisDelivery(source, id, message, heldUntil, source.knownOf(id)))
      }
      const [first, last] = [deliveries[0], deliveries.at(-1)]
      if (!source.isSide && first !== undefined && last !== undefined) {
        source.partition.lastRead = last.id
        source.partition.reads.add(deliveries.length, first.id, last.id)
      }
      this.#seat.credit.offer(source, deliveries)
    }
    this.#seat.credit.deliver()
  }

  async #failed(error: unknown, sources: readonly Source[]): Promise<void> {
    if (error instanceof LostReplyError) for (const { partition } of sources) partition.reads.reset()
    if (this.#stopped || error instanceof NotSentError || error instanceof LostReplyError) return
    const code = replyCode(error)
    if (code === 'NOGROUP' || code === 'UNBLOCKED') {
      // The message names one key of several; checking all of them is cheap, and rare.
      for (const partition of new Set(sources.map((source) => source.partition))) partition.repair()
      // Nothing is read before that is done; and if it fails, it must not loop.
      await this.#pause()
      return
    }
    if (code === 'MOVED' || code === 'ASK' || code === 'CLUSTERDOWN') {
      this.#connection.drop(`the slot of ${this.#key} is on another server`)
      return
    }
    const { context, spec } = this.#seat
    if (isPassing(error)) context.reports.refused(error)
    else this.#seat.tellError(await this.#explained(error, sources), `reading group "${spec.group}"`)
    await this.#pause()
  }

  async #explained(error: unknown, sources: readonly Source[]): Promise<unknown> {
    if (replyCode(error) !== 'WRONGTYPE') return error
    const { commands, host } = this.#seat.context
    const now = host.clock.monotonic()
    // Each explanation costs a command for each stream.
    if (this.#wrongType !== undefined && now - this.#wrongType.at < EXPLAIN_AGAIN_MS) return this.#wrongType.explained
    const streams = sources.map(({ stream }) => stream)
    try {
      this.#wrongType = { explained: await explainWrongType(commands, streams, error), at: now }
      return this.#wrongType.explained
    } catch {
      return error
    }
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => {
      const timer = this.#seat.context.host.clock.setTimer(RETRY_MS, resolve)
      this.#woken = () => {
        if (!this.#stopped) return
        timer.cancel()
        resolve()
      }
    })
  }

  // --- the connection ----------------------------------------------------------------------------------------------

  async #interrupt(read: Read): Promise<void> {
    const { commands, reports } = this.#seat.context
    while (
      this.#read === read &&
      read.blocks &&
      this.#connection.up &&
      this.#wakeable &&
      this.#connection.identity !== undefined
    ) {
      try {
        // 0: it is not blocked, because its command is still in transit or its reply on the way back.
        if (Number(await commands.call(this.#key, ['CLIENT', 'UNBLOCK', this.#connection.identity.id])) === 1) break
      } catch (error) {
        if (error instanceof LostReplyError || error instanceof NotSentError) break
        if (isPassing(error)) {
          await Promise.race([read.done, this.#after(RETRY_MS)])
          continue
        }
        this.#wakeable = false
        reports.warnOnce(
          'redis-acl',
          'This user may not run CLIENT UNBLOCK: reads block for a short time only, which costs more commands. Allow +client|unblock.',
        )
        break
      }
      await Promise.race([read.done, this.#after(UNBLOCK_AGAIN_MS)])
    }
    await read.done
  }

  #after(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.#seat.context.host.clock.setTimer(ms, resolve)
    })
  }
}
