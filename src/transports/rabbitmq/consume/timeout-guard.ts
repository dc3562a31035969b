import type { Clock, Timer } from '../../../core/clock.ts'
import type { QueueConsumer } from './queue-consumer.ts'

/** The broker checks about once a minute, so ages need no finer resolution than this part of the limit. */
const CHECKS = 20
const MIN_CHECK_MS = 200
/** Parts of the limit: from here on waiting messages are handed back, and fewer are sent ahead. */
const HAND_BACK_AT = 0.5
const LESS_AHEAD_AT = 0.25

export interface TimeoutGuardHost {
  readers(): Iterable<QueueConsumer>
  /**
   * A message has been unacked here for that long, although nothing before it waits for a retry: there is too much
   * here.
   */
  tooFarAhead(reader: QueueConsumer, ageMs: number): void
  /** Everything of the reader must go back and be taken again. */
  turnOver(reader: QueueConsumer): void
}

interface Sample {
  readonly tag: number
  readonly at: number
}

/**
 * RabbitMQ closes the channel of a consumer that leaves a message unacked for too long (`consumer_timeout`), and
 * redelivers everything on that channel, including running messages. This watches the oldest unacked message of each
 * queue, and acts before the broker does: a message that waits for its retry is handed back with what is behind it, in
 * order, and taken again.
 */
export class TimeoutGuard {
  readonly #clock: Clock
  readonly #limitMs: number
  readonly #host: TimeoutGuardHost
  /** Newest tags at points in time, oldest first: nothing is measured per message. */
  readonly #samples = new Map<QueueConsumer, { epoch: number; samples: Sample[] }>()
  readonly #acted = new WeakMap<QueueConsumer, number>()
  #timer: Timer | undefined

  constructor(clock: Clock, limitMs: number, host: TimeoutGuardHost) {
    this.#clock = clock
    this.#limitMs = limitMs
    this.#host = host
  }

  start(): void {
    if (this.#limitMs === Infinity) return
    this.#timer = this.#clock.setTimer(Math.max(MIN_CHECK_MS, this.#limitMs / CHECKS), () => {
      this.#check()
      this.start()
    })
  }

  stop(): void {
    this.#timer?.cancel()
    this.#timer = undefined
    this.#samples.clear()
  }

  #check(): void {
    const readers = [...this.#host.readers()]
    for (const reader of this.#samples.keys()) if (!readers.includes(reader)) this.#samples.delete(reader)
    for (const reader of readers) {
      const ageMs = this.#ageOfOldest(reader)
      const isLong = ageMs >= LESS_AHEAD_AT * this.#limitMs
      if (isLong && reader.oldest?.isWaitingAt(this.#clock.now()) === false) this.#slow(reader, ageMs)
      else if (ageMs < (LESS_AHEAD_AT * this.#limitMs) / 4) reader.raiseHanded()
      if (ageMs >= HAND_BACK_AT * this.#limitMs) this.#host.turnOver(reader)
    }
  }

  /** The last countermeasure needs a while to show its effect. */
  #slow(reader: QueueConsumer, ageMs: number): void {
    const now = this.#clock.monotonic()
    if (now - (this.#acted.get(reader) ?? -Infinity) < LESS_AHEAD_AT * this.#limitMs) return
    this.#acted.set(reader, now)
    this.#host.tooFarAhead(reader, ageMs)
  }

  /** Its minimum age, in ms. */
  #ageOfOldest(reader: QueueConsumer): number {
    let known = this.#samples.get(reader)
    if (known === undefined || known.epoch !== reader.opened) {
      known = { epoch: reader.opened, samples: [] }
      this.#samples.set(reader, known)
    }
    const { samples } = known
    const now = this.#clock.monotonic()
    if (reader.lastTag > (samples.at(-1)?.tag ?? 0)) samples.push({ tag: reader.lastTag, at: now })
    const oldestTag = reader.oldest?.deliveryTag ?? Infinity
    while (samples.length > 0 && (samples[0] as Sample).tag < oldestTag) samples.shift()
    return samples.length === 0 ? 0 : now - (samples[0] as Sample).at
  }
}
