import { createHash } from 'node:crypto'
import type { ConsumeMessage, GetMessage } from 'amqplib'
import { headersOf } from './mapping.ts'
import { isTransportHeader } from './wire-headers.ts'

const MOST = 10_000

interface Twins {
  /** How many of them came for the first time. */
  count: number
  /** Which of them are here now. */
  readonly here: Set<number>
}

/**
 * Ids for messages whose publisher set none. A RabbitMQ queue has no positions, so the id is a digest of the message:
 * the same at each delivery and in each group. Equal messages get different ids.
 */
export class ForeignIds {
  readonly #twins = new Map<string, Twins>()

  idOf(message: ConsumeMessage): string {
    const digest = digestOf(message)
    let twins = this.#twins.get(digest)
    if (twins === undefined) {
      twins = { count: 0, here: new Set() }
      this.#twins.set(digest, twins)
      if (this.#twins.size > MOST) this.#twins.delete(this.#twins.keys().next().value as string)
    }
    let number = 1
    if (!message.fields.redelivered) number = ++twins.count
    else while (twins.here.has(number)) number++
    twins.count = Math.max(twins.count, number)
    twins.here.add(number)
    return number === 1 ? digest : `${digest}-${number}`
  }

  /** The message is settled, or was taken back. */
  left(id: string): void {
    if (this.#twins.size === 0 || !id.startsWith(PREFIX)) return
    const at = id.indexOf('-', PREFIX.length)
    const digest = at < 0 ? id : id.slice(0, at)
    this.#twins.get(digest)?.here.delete(at < 0 ? 1 : Number(id.slice(at + 1)))
  }
}

const PREFIX = 'amqp-'

export function digestOf(message: ConsumeMessage | GetMessage): string {
  const { contentType, correlationId, timestamp, type, appId } = message.properties as unknown as Record<
    string,
    unknown
  >
  const headers = Object.entries(headersOf(message))
    .filter(([name]) => !isTransportHeader(name))
    .sort(([a], [b]) => (a < b ? -1 : 1))
  return (
    PREFIX +
    createHash('sha256')
      .update(JSON.stringify([contentType, correlationId, timestamp, type, appId, headers]))
      .update(message.content)
      .digest('hex')
      .slice(0, 32)
  )
}
