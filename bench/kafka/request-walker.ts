import { apiOf } from '../../src/kafka/protocol/apis.ts'
import { readRequestFrame } from '../../test/unit/kafka/sim/wire.ts'
import type { RequestFrame } from '../../test/unit/kafka/sim/wire.ts'

/** What a Produce request says beside its records. */
export interface ProduceHead {
  readonly version: number
  readonly correlationId: number
  readonly acks: number
  readonly topics: readonly {
    readonly name: string
    readonly topicId: string
    readonly partitions: readonly number[]
  }[]
}

export interface WalkerEvents {
  produce(head: ProduceHead): void
  request(frame: RequestFrame): void
}

/** So many bytes are wanted, or, if it is negative, are of no interest. */
type Step = Generator<number, void, Buffer>

const PRODUCE = 0
const FIRST_WITH_IDS = 13
const NOTHING = Buffer.alloc(0)

/** Reads requests as they come. The records of Produce requests are passed over and never copied: others must not pay for them. */
export class RequestWalker {
  readonly #steps: Step
  #wanted: number
  #gathered: Buffer = NOTHING

  constructor(events: WalkerEvents) {
    this.#steps = walk(events)
    this.#wanted = Number(this.#steps.next().value)
  }

  push(chunk: Buffer): void {
    let pos = 0
    while (pos < chunk.length) {
      const isSkipped = this.#wanted < 0
      const missing = isSkipped ? -this.#wanted : this.#wanted - this.#gathered.length
      const part = Math.min(missing, chunk.length - pos)
      const bytes = chunk.subarray(pos, pos + part)
      pos += part
      if (isSkipped) this.#wanted += part
      else this.#gathered = this.#gathered.length === 0 ? bytes : Buffer.concat([this.#gathered, bytes])
      if (part < missing) {
        // The chunk may be used again.
        this.#gathered = Buffer.from(this.#gathered)
        return
      }
      const found = this.#gathered
      this.#gathered = NOTHING
      this.#wanted = Number(this.#steps.next(found).value)
    }
  }
}

function* walk(events: WalkerEvents): Step {
  for (;;) {
    const size = (yield 4).readInt32BE()
    const head = Buffer.from(yield 8)
    if (head.readInt16BE(0) !== PRODUCE) {
      events.request(readRequestFrame(Buffer.concat([head, yield size - head.length])))
      continue
    }
    yield* produce(events, head.readInt16BE(2), head.readInt32BE(4))
  }
}

function* produce(events: WalkerEvents, version: number, correlationId: number): Step {
  const isFlexible = apiOf('Produce').isFlexible(version)
  const clientId = (yield 2).readInt16BE()
  if (clientId > 0) yield -clientId
  if (isFlexible) yield* tags()
  const transactionalId = yield* length(isFlexible, 2)
  if (transactionalId > 0) yield -transactionalId
  const acks = (yield 2).readInt16BE()
  yield 4
  const topics: { name: string; topicId: string; partitions: number[] }[] = []
  for (let left = yield* length(isFlexible, 4); left > 0; left--) {
    const topicId = version >= FIRST_WITH_IDS ? (yield 16).toString('base64url') : ''
    const name = version >= FIRST_WITH_IDS ? '' : (yield yield* length(isFlexible, 2)).toString()
    const partitions: number[] = []
    for (let parts = yield* length(isFlexible, 4); parts > 0; parts--) {
      partitions.push((yield 4).readInt32BE())
      const records = yield* length(isFlexible, 4)
      if (records > 0) yield -records
      if (isFlexible) yield* tags()
    }
    if (isFlexible) yield* tags()
    topics.push({ name, topicId, partitions })
  }
  if (isFlexible) yield* tags()
  events.produce({ version, correlationId, acks, topics })
}

/** A length or a count; -1 for null. */
function* length(isFlexible: boolean, bytes: 2 | 4): Generator<number, number, Buffer> {
  if (isFlexible) return (yield* uvarint()) - 1
  return bytes === 2 ? (yield 2).readInt16BE() : (yield 4).readInt32BE()
}

function* uvarint(): Generator<number, number, Buffer> {
  let value = 0
  for (let shift = 0; ; shift += 7) {
    const byte = (yield 1)[0] ?? 0
    value |= (byte & 0x7f) << shift
    if (byte < 0x80) return value
  }
}

/** Clients send none. */
function* tags(): Step {
  if ((yield* uvarint()) !== 0) throw new Error('a request with tags')
}
