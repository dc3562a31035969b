import type { DeadLetter } from '../bus-types.ts'
import type { CodecRegistry } from '../codec.ts'
import { parseDeadLetter } from './dead-letter.ts'
import { messageBytes } from '../message.ts'
import type { StoredMessage, TransportAdmin } from '../transport.ts'
import type { Position } from '../message.ts'

const FIRST_PAGE = 20
const MAX_PAGE = 200
const MAX_GROWTH = 4
/** Target size of a page: large messages make shorter pages. */
const PAGE_BYTES = 4_194_304

export interface Page {
  readonly stored: readonly StoredMessage[]
  /** The same, read. */
  readonly letters: readonly DeadLetter[]
  readonly isLast: boolean
}

/** Reads a dead-letter topic in pages. Adapts their length to the size of earlier messages, to bound the bytes per page. */
export class DeadLetterPages {
  readonly #admin: TransportAdmin
  readonly #topic: string
  readonly #of: string
  readonly #codecs: CodecRegistry
  #limit = FIRST_PAGE

  /** The dead-letter topic `topic`, with the dead letters of the topic `of`. */
  constructor(admin: TransportAdmin, topic: string, of: string, codecs: CodecRegistry) {
    this.#admin = admin
    this.#topic = topic
    this.#of = of
    this.#codecs = codecs
  }

  async read(after: Position | undefined): Promise<Page> {
    const limit = this.#limit
    const stored = await this.#admin.read(this.#topic, { after, limit })
    const letters: DeadLetter[] = []
    let bytes = 0
    for (const each of stored) {
      bytes += messageBytes(each.message)
      letters.push(parseDeadLetter(each, this.#of, this.#codecs))
    }
    if (stored.length > 0) {
      const fitting = Math.floor((PAGE_BYTES * stored.length) / bytes)
      this.#limit = Math.max(1, Math.min(fitting, MAX_PAGE, limit * MAX_GROWTH))
    }
    return { stored, letters, isLast: stored.length < limit }
  }
}
