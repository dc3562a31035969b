import { uuidTime } from '../../../core/publish/uuid.ts'
import type { Incoming } from '../connection/incoming.ts'

const UUID_LENGTH = 36
const LINE_FEED = 10
/** Of the characters of a UUID, `-` is the first one in ASCII, and `f` the last. */
const DASH = 45
const LOWER_F = 102
/** The last line of a header block is empty. */
const BLOCK_END = Buffer.from('\r\n\r\n')
const ID = Buffer.from('\r\nce-id: ')
const MESSAGE_ID = Buffer.from('\r\nNats-Msg-Id: ')
const KEY = Buffer.from('\r\nce-partitionkey: ')

/**
 * What most messages say beyond what they have in common: their id, a UUIDv7, and perhaps a key. It is read from the bytes,
 * which costs a fraction of reading lines of text. One object is reused.
 */
export class UsualBlock {
  id = ''
  /** That of the id, in ms since 1970. */
  time = 0
  key: string | undefined = undefined
  /** What comes after the id in that of the server, for this topic and source. */
  #tail: Uint8Array = new Uint8Array(0)
  #topic = ''
  #source = ''

  /** Reads a block from `start` on. False when it says anything else, or in another way. */
  read({ bytes, bodyAt }: Incoming, start: number, topic: string, source: string): boolean {
    const end = bodyAt - BLOCK_END.length
    const isPlain = isAt(bytes, start, ID)
    if (!isPlain && !isAt(bytes, start, MESSAGE_ID)) return false
    const idAt = start + (isPlain ? ID : MESSAGE_ID).length
    let at = idAt + UUID_LENGTH
    if (at > end || !isAt(bytes, end, BLOCK_END)) return false
    if (!isPlain) {
      const tail = this.#tailOf(topic, source)
      if (!isAt(bytes, at, tail)) return false
      at += tail.length
    }
    this.key = undefined
    if (at !== end) {
      if (!isAt(bytes, at, KEY) || bytes.indexOf(LINE_FEED, at + KEY.length) !== end + 1) return false
      this.key = bytes.toString('utf8', at + KEY.length, end)
    }
    for (let index = idAt; index < idAt + UUID_LENGTH; index++) {
      const code = bytes[index] as number
      if (code < DASH || code > LOWER_F) return false
    }
    this.id = bytes.toString('latin1', idAt, idAt + UUID_LENGTH)
    const time = uuidTime(this.id)
    if (time === undefined) return false
    this.time = time
    return true
  }

  #tailOf(topic: string, source: string): Uint8Array {
    if (topic !== this.#topic || source !== this.#source) {
      this.#topic = topic
      this.#source = source
      this.#tail = Buffer.from(`@${topic} ${source}`)
    }
    return this.#tail
  }
}

function isAt(bytes: Uint8Array, start: number, part: Uint8Array): boolean {
  for (let index = 0; index < part.length; index++) if (bytes[start + index] !== part[index]) return false
  return true
}
