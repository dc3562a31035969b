import { createHash } from 'node:crypto'
import type { EncodedMessage } from '../message.ts'
import type { Delivery } from '../transport.ts'

/**
 * Limit for a process that keeps handling while its connection flaps. Above it the oldest is forgotten, and may be handled
 * twice.
 */
const MAX_REMEMBERED = 10_000
const REDRIVES = 'busbar-redrives'

interface Handled {
  /** Identifies the message: ids chosen by users or other programs may not be unique. */
  readonly fingerprint: string
  /** Topic and position. */
  readonly place: string
  isBeingAcked: boolean
}

/**
 * Messages whose handler succeeded here, but whose ack the broker did not accept, because the connection or lease was lost
 * first. When they come to this process again, they are acked without calling the handler.
 */
export class HandledMessages {
  /** By id; one entry for each message that was handled. */
  readonly #handled = new Map<string, Handled[]>()
  #count = 0

  add(delivery: Delivery): void {
    const { message } = delivery
    const { id } = message
    const entry: Handled = { fingerprint: fingerprintOf(message), place: placeOf(delivery), isBeingAcked: false }
    const same = this.#handled.get(id)
    if (same === undefined) this.#handled.set(id, [entry])
    else same.push(entry)
    if (++this.#count <= MAX_REMEMBERED) return
    const [oldest] = this.#handled
    if (oldest !== undefined) this.#remove(...oldest, oldest[1].slice(0, 1))
  }

  /** True when the message was already handled: the caller must ack it, then call `acked` or `notAcked`. */
  beginAck({ message }: Delivery): boolean {
    const entry = this.#find(message, false)
    if (entry === undefined) return false
    entry.isBeingAcked = true
    return true
  }

  /** The broker accepted the ack. */
  acked({ message }: Delivery): void {
    const entry = this.#find(message, true)
    if (entry !== undefined) this.#remove(message.id, this.#handled.get(message.id) ?? [], [entry])
  }

  /** The broker did not accept the ack, and delivers the message again. */
  notAcked({ message }: Delivery): void {
    const entry = this.#find(message, true)
    if (entry !== undefined) entry.isBeingAcked = false
  }

  /**
   * The message at this position starts over: another member had acked it, and since then the group was set back. It must be
   * handled again, and retried like any other.
   */
  forget(delivery: Delivery): void {
    // Nearly always. A lookup would hash the id of every message that arrives.
    if (this.#handled.size === 0) return
    const { id } = delivery.message
    const same = this.#handled.get(id)
    if (same === undefined) return
    const place = placeOf(delivery)
    this.#remove(
      id,
      same,
      same.filter((entry) => entry.place === place),
    )
  }

  #find(message: EncodedMessage, isBeingAcked: boolean): Handled | undefined {
    const same = this.#handled.get(message.id)
    if (same === undefined) return undefined
    const fingerprint = fingerprintOf(message)
    return same.find((entry) => entry.isBeingAcked === isBeingAcked && entry.fingerprint === fingerprint)
  }

  #remove(id: string, same: readonly Handled[], entries: readonly Handled[]): void {
    if (entries.length === 0) return
    this.#count -= entries.length
    const rest = same.filter((entry) => !entries.includes(entry))
    if (rest.length === 0) this.#handled.delete(id)
    else this.#handled.set(id, rest)
  }
}

/**
 * A redriven copy has the id of its dead letter, but must be handled. A foreign message that gets its time on arrival is never
 * recognized: better handled twice than not at all.
 */
function fingerprintOf({ topic, type, source, time, key, headers, body }: EncodedMessage): string {
  const envelope = JSON.stringify([topic, type, source, time, key, headers[REDRIVES]])
  const hash = createHash('sha1').update(envelope)
  return (body === null ? hash : hash.update(body)).digest('base64')
}

function placeOf({ message, position }: Delivery): string {
  return JSON.stringify([message.topic, position])
}
