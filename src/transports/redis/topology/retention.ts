import type { Timer } from '../../../core/clock.ts'
import type { TransportHost } from '../../../core/transport.ts'
import { isDeadLetterTopic } from '../../../core/topic.ts'
import type { PartitionKeys } from './keys.ts'
import type { ResolvedRetention } from '../options.ts'
import type { Reports } from '../reports.ts'
import type { ScriptRunner } from '../connection/script-runner.ts'
import { TRIM } from '../scripts/retention.ts'

/** Interval at which a growing stream is checked, whatever its growth. */
const LOOK_EVERY_MS = 5_000
/** A stream is also checked when it has grown by this fraction of its limit. */
const GROWTH = 0.1
/** A group that holds a stream above its limit is reported again after this time. */
const WARN_EVERY_MS = 60_000
/** A program that invents topic names without end must not fill the memory. */
const MAX_WATCHED = 100_000
/** Number of streams in one round; the others have their turn in the next. */
const LOOKS_AT_ONCE = 500

export interface Watched {
  readonly keys: PartitionKeys
  readonly maxMessages: number
  /** Number of messages that this process has added since the last check. */
  grown: number
  looking: boolean
  /** When it is checked because of the age of its entries, whatever its growth (monotonic). */
  dueAt: number
  warnedAt: number
}

/**
 * Keeps streams within their limits. Trimming is a separate step, not part of XADD: it first checks what each group
 * still needs, which XADD's MAXLEN does not. Dead letters are never trimmed.
 */
export class Retention {
  readonly #limits: ResolvedRetention
  readonly #host: TransportHost
  readonly #scripts: ScriptRunner
  readonly #reports: Reports
  /** Least recently checked first. */
  readonly #watched = new Map<string, Watched>()
  #timer: Timer | undefined
  #closed = false

  constructor(limits: ResolvedRetention, host: TransportHost, scripts: ScriptRunner, reports: Reports) {
    this.#reports = reports
    this.#limits = limits
    this.#host = host
    this.#scripts = scripts
    this.#arm()
  }

  /** A stream that this process writes to or reads from. */
  watch(keys: PartitionKeys, partitions: number): Watched | undefined {
    if (isDeadLetterTopic(keys.topic)) return undefined
    let watched = this.#watched.get(keys.stream)
    if (watched === undefined) {
      const { maxMessages } = this.#limits
      const share = maxMessages === undefined ? 0 : Math.max(1, Math.ceil(maxMessages / partitions))
      watched = { keys, maxMessages: share, grown: 1, looking: false, dueAt: -Infinity, warnedAt: -Infinity }
      this.#add(watched)
    }
    return watched
  }

  #add(watched: Watched): void {
    if (this.#watched.size >= MAX_WATCHED) {
      const [oldest] = this.#watched.keys()
      this.#watched.delete(oldest as string)
    }
    this.#watched.set(watched.keys.stream, watched)
  }

  /** Records that `count` more messages are in a stream. */
  grew(watched: Watched, count: number): void {
    watched.grown += count
    if (!this.#watched.has(watched.keys.stream)) this.#add(watched)
    if (watched.maxMessages > 0 && watched.grown > 100 && watched.grown > watched.maxMessages * GROWTH)
      this.#look(watched)
  }

  close(): void {
    this.#closed = true
    this.#timer?.cancel()
  }

  #arm(): void {
    const { maxAgeMs = LOOK_EVERY_MS * 10 } = this.#limits
    const every = Math.min(LOOK_EVERY_MS, Math.max(500, maxAgeMs / 10))
    // Jitter: many processes check the same streams.
    this.#timer = this.#host.clock.setTimer(every * (0.75 + Math.random() / 2), () => {
      const now = this.#host.clock.monotonic()
      const byAge = this.#limits.maxAgeMs !== undefined
      const chosen: Watched[] = []
      for (const watched of this.#watched.values()) {
        if (watched.grown > 0 || (byAge && watched.dueAt <= now)) chosen.push(watched)
        if (chosen.length >= LOOKS_AT_ONCE) break
      }
      for (const watched of chosen) this.#look(watched)
      if (!this.#closed) this.#arm()
    })
  }

  #look(watched: Watched): void {
    if (watched.looking || this.#closed) return
    watched.looking = true
    watched.grown = 0
    this.#watched.delete(watched.keys.stream)
    this.#watched.set(watched.keys.stream, watched)
    this.#trim(watched).then(
      (again) => {
        watched.looking = false
        if (again) this.#look(watched)
      },
      (error: unknown) => {
        watched.looking = false
        watched.grown++
        if (!this.#closed) this.#reports.error(error, `trimming the stream ${watched.keys.stream}`)
      },
    )
  }

  async #trim(watched: Watched): Promise<boolean> {
    const { maxAgeMs = 0, keepUnacked } = this.#limits
    const args = [String(watched.maxMessages), String(maxAgeMs), keepUnacked ? '0' : '1']
    const reply = (await this.#scripts.run(TRIM, [watched.keys.stream], args)) as readonly unknown[]
    const [removed = 0, over = 0] = reply.slice(0, 2).map(Number)
    const age = Number(reply[3] ?? -1)
    // An empty stream has nothing too old before that time has passed.
    watched.dueAt = this.#host.clock.monotonic() + Math.max(0, age < 0 ? maxAgeMs : maxAgeMs - age)
    for (let at = 4; at + 2 < reply.length; at += 3) this.#reportLoss(watched, String(reply[at]), Number(reply[at + 1]))
    if (over > 0 && keepUnacked) {
      // The next look is due without a new message: acks are enough.
      watched.grown++
      this.#warn(watched, over, String(reply[2]))
    }
    // What can't be removed in one go without blocking the server is removed in several.
    return removed >= 10_000 || (!keepUnacked && over > 0 && removed > 0)
  }

  #reportLoss({ keys }: Watched, group: string, count: number): void {
    this.#host.events.emit('loss', {
      transport: this.#host.name,
      topic: keys.topic,
      group,
      count,
      position: { partition: keys.partition },
      reason: 'removed to keep the stream within its limit (keepUnacked: false) before the group had acked them',
    })
  }

  #warn(watched: Watched, over: number, group: string): void {
    const now = this.#host.clock.monotonic()
    if (now - watched.warnedAt < WARN_EVERY_MS) return
    watched.warnedAt = now
    const much =
      this.#limits.maxMessages === undefined ? 'is older than it may be' : `is ${over} messages above its limit`
    this.#host.events.emit('warning', {
      transport: this.#host.name,
      code: 'redis-retention',
      detail: `The stream ${watched.keys.stream} ${much}, because group "${group}" has not acked them. Let it catch up, delete it with admin.deleteGroup, or set retention.keepUnacked to false.`,
    })
  }
}
