import { createHash } from 'node:crypto'
import type { EncodedMessage } from './message.ts'
import type { Delivery } from './transport.ts'

/** Of a process that handles on and on while its connection flaps. Beyond it the oldest is forgotten, and may be handled twice. */
const MAX_REMEMBERED = 10_000
const REDRIVES = 'busbar-redrives'

interface Handled {
  /** What tells it from every other message: ids that users or other programs choose may name several. */
  readonly fingerprint: string
  /** Topic and position. */
  readonly place: string
  isBeingAcked: boolean
}

/**
 * Messages whose handler succeeded here, but whose ack the broker did not take: its connection or lease was lost first. When
 * they come again to this process, they are acked without a second call.
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

  /** True when this delivery is of a message that was handled: it is to be acked, and `acked` or `notAcked` called after. */
  beginAck({ message }: Delivery): boolean {
    const entry = this.#find(message, false)
    if (entry === undefined) return false
    entry.isBeingAcked = true
    return true
  }

  /** The broker has the ack now. */
  acked({ message }: Delivery): void {
    const entry = this.#find(message, true)
    if (entry !== undefined) this.#remove(message.id, this.#handled.get(message.id) ?? [], [entry])
  }

  /** It has not, and delivers the message again. */
  notAcked({ message }: Delivery): void {
    const entry = this.#find(message, true)
    if (entry !== undefined) entry.isBeingAcked = false
  }

  /**
   * The message at that position begins again: somebody has set the group back since it was handled (another member has
   * acked it). It is to be handled again, and as often as it fails.
   */
  forget(delivery: Delivery): void {
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
 * A redriven copy has the id of its dead letter, and is to be handled. A foreign message whose time is that of its arrival
 * is never recognized: better handled twice than not at all.
 */
function fingerprintOf({ topic, type, source, time, key, headers, body }: EncodedMessage): string {
  const envelope = JSON.stringify([topic, type, source, time, key, headers[REDRIVES]])
  return createHash('sha1').update(envelope).update(body).digest('base64')
}

function placeOf({ message, position }: Delivery): string {
  return JSON.stringify([message.topic, position])
}
