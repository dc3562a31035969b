import type { PublishError } from '../errors.ts'
import type { BusEvents } from '../events.ts'
import type { OutgoingMessage } from '../message.ts'
import { messageBytes } from '../message.ts'
import { PublishCounts } from './publish-counts.ts'

/** Results of the messages of one topic in one batch. */
interface Tally {
  count: number
  failed: number
  bytes: number
}

/** Results of one batch, by topic. */
export type Tallies = Map<string, Tally>

/** What listeners and the snapshot learn of the messages of one transport: each message exactly once. */
export class PublishReports {
  readonly counts: PublishCounts = new PublishCounts()
  readonly #transport: string
  readonly #events: BusEvents

  constructor(transport: string, events: BusEvents) {
    this.#transport = transport
    this.#events = events
  }

  /** Of a new batch; undefined if no listener wants them. */
  newTallies(): Tallies | undefined {
    return this.#events.wants('published') ? new Map() : undefined
  }

  /** A property, because it is passed on: entries report each message that fails. */
  readonly failed = (message: OutgoingMessage, error: PublishError): void => {
    this.counts.of(message.topic).failed++
    if (this.#events.wants('publishFailed'))
      this.#events.emit('publishFailed', { transport: this.#transport, message, error })
  }

  /** The transport has answered all messages of a batch. */
  published(tallies: Tallies, durationMs: number): void {
    for (const [topic, { count, failed, bytes }] of tallies)
      if (count > 0)
        this.#events.emit('published', { transport: this.#transport, topic, count, failed, bytes, durationMs })
  }

  bufferFull(bufferedBytes: number, maxBufferedBytes: number): void {
    this.#events.emit('bufferFull', { transport: this.#transport, bufferedBytes, maxBufferedBytes })
  }
}

/** Counts a message in its batch. One whose caller gave up first counts as failed, whatever the transport says. */
export function addToTallies(tallies: Tallies | undefined, message: OutgoingMessage, isConfirmed: boolean): void {
  if (tallies === undefined) return
  let tally = tallies.get(message.topic)
  if (tally === undefined) tallies.set(message.topic, (tally = { count: 0, failed: 0, bytes: 0 }))
  if (isConfirmed) {
    tally.count++
    tally.bytes += messageBytes(message)
  } else tally.failed++
}
