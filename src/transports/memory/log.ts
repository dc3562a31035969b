import type { OutgoingMessage, Position } from '../../core/message.ts'
import type { PublishOutcome } from '../../core/transport.ts'

/** A message as the broker keeps it, and the outcome of its publish. */
export class LogEntry implements Extract<PublishOutcome, { readonly error?: undefined }> {
  readonly message: OutgoingMessage
  /** Negative for a message that was sent to one group alone: it has no place in the log. */
  readonly offset: number
  readonly publishedAt: number
  readonly bytes: number

  constructor(message: OutgoingMessage, offset: number, publishedAt: number, bytes: number) {
    this.message = message
    this.offset = offset
    this.publishedAt = publishedAt
    this.bytes = bytes
  }

  get position(): Position {
    return { topic: this.message.topic, offset: this.offset }
  }

  /** It was sent to one group alone. */
  get isTargeted(): boolean {
    return this.offset < 0
  }
}

const COMPACT_AT = 4_096

/** The messages of one topic by offset. Old ones are dropped from its start; offsets never change. */
export class TopicLog {
  #entries: (LogEntry | undefined)[] = []
  /** Offset of the first slot of the array. */
  #base = 0
  /** Offset of the oldest remaining entry. */
  start = 0
  bytes = 0
  /** Number of entries: some in the middle may have been removed. */
  size = 0

  /** Offset of the next entry. */
  get end(): number {
    return this.#base + this.#entries.length
  }

  get(offset: number): LogEntry | undefined {
    return offset < this.start ? undefined : this.#entries[offset - this.#base]
  }

  /** The oldest entry. */
  get first(): LogEntry | undefined {
    for (let offset = this.start; offset < this.end; offset++) {
      const entry = this.get(offset)
      if (entry !== undefined) return entry
    }
    return undefined
  }

  /** The newest entry before that offset. */
  lastBefore(offset: number): LogEntry | undefined {
    for (let at = offset - 1; at >= this.start; at--) {
      const entry = this.get(at)
      if (entry !== undefined) return entry
    }
    return undefined
  }

  push(entry: LogEntry): void {
    this.#entries.push(entry)
    this.bytes += entry.bytes
    this.size++
  }

  remove(offset: number): boolean {
    const entry = this.get(offset)
    if (entry === undefined) return false
    this.#entries[offset - this.#base] = undefined
    this.bytes -= entry.bytes
    this.size--
    return true
  }

  /** Drops everything before that offset. */
  trim(offset: number): void {
    while (this.start < offset) {
      this.remove(this.start)
      this.start++
    }
    const dead = this.start - this.#base
    if (dead < COMPACT_AT || dead * 2 < this.#entries.length) return
    this.#entries = this.#entries.slice(dead)
    this.#base = this.start
  }

  /** First offset published at or after that time; the end when there is none. */
  offsetAt(timeMs: number): number {
    for (let offset = this.start; offset < this.end; offset++) {
      const entry = this.get(offset)
      if (entry !== undefined && entry.publishedAt >= timeMs) return offset
    }
    return this.end
  }
}
