import { createHash } from 'node:crypto'
import type { ConsumeMessage, GetMessage } from 'amqplib'
import { headersOf } from '../wire/read-message.ts'
import { isTransportHeader } from '../wire/wire-headers.ts'

const MOST = 10_000

interface Twins {
  /** Makes the ids different from those of equal messages that came earlier. */
  readonly salt: string
  /** How many of them came for the first time. */
  count: number
  /** Which of them are here now. */
  readonly here: Set<number>
}

const PREFIX = 'amqp-'
const FORM = /^(amqp-[0-9a-f]{32})-.+-([0-9]+)$/

/**
 * Ids for messages whose publisher set none. A RabbitMQ queue has no positions, so the id is a digest of the message, the
 * salt of this process and a number: the same at each delivery to this process and in each of its groups, and different
 * for equal messages, even if they come to another process. (An id that two messages shared would lose one of them where
 * duplicates are skipped.)
 */
export class ForeignIds {
  readonly #salt: string
  readonly #twins = new Map<string, Twins>()
  #forgotten = 0

  constructor(salt: string) {
    this.#salt = salt
  }

  idOf(message: ConsumeMessage): string {
    const digest = digestOf(message)
    let twins = this.#twins.get(digest)
    if (twins === undefined) {
      twins = { salt: `${this.#salt}${this.#forgotten.toString(36)}`, count: 0, here: new Set() }
      this.#twins.set(digest, twins)
      if (this.#twins.size > MOST) {
        this.#twins.delete(this.#twins.keys().next().value as string)
        this.#forgotten++
      }
    }
    let number = 1
    if (!message.fields.redelivered) number = ++twins.count
    else while (twins.here.has(number)) number++
    twins.count = Math.max(twins.count, number)
    twins.here.add(number)
    return `${digest}-${twins.salt}-${number}`
  }

  /** The message is settled, or was taken back. */
  left(id: string): void {
    if (this.#twins.size === 0 || !id.startsWith(PREFIX)) return
    const [, digest = '', number] = FORM.exec(id) ?? []
    const twins = this.#twins.get(digest)
    if (twins !== undefined && id === `${digest}-${twins.salt}-${number}`) twins.here.delete(Number(number))
  }
}

/** The part of an id that another process would give the message too. Other ids are returned as they are. */
export function lastingId(id: string): string {
  return id.startsWith(PREFIX) ? id.replace(FORM, '$1-$2') : id
}

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
