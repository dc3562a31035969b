import type { EncodedMessage, OutgoingMessage } from '../../src/core/message.ts'
import { NO_HEADERS } from '../../src/core/message.ts'
import type { Random } from '../../src/testing/index.ts'

/** What formats trip over: quotes, separators of each format, and characters of two, three and four bytes. */
const PIECES = ['a', 'Z9', '-', '_', ' ', '.', ':', ',', ';', '=', '"', '\\', '/', '{', '}', '~', '%', 'é', '文', '🌱']
/** Of headers that nothing but the user sees, and those that an object or a format may take for its own. */
const NAMES = [
  'tenant',
  'X-Trace',
  'constructor',
  'toJSON',
  'data',
  'ce',
  'key',
  'Nats-Rollup',
  'CC',
  'x-delay',
  'ce-foo',
]
/** Years 50, 1970, 2023 and 9999. */
const TIMES = [-60_589_296_000_000, 0, 1_700_000_000_123, 253_402_300_799_999]

/** Text that a publish takes: not empty, well formed, without control characters. */
export function randomText(random: Random, most = 12): string {
  return Array.from({ length: random.integer(1, most) }, () => random.pick(PIECES)).join('')
}

/** A UUIDv7 of that time, which has no form for times before 1970. */
function idOf(random: Random, time: number): string {
  const hex = Math.max(0, time).toString(16).padStart(12, '0')
  return `${hex.slice(0, 8)}-${hex.slice(8)}-7${Buffer.from(random.bytes(2)).toString('hex').slice(1)}-8000-${Buffer.from(random.bytes(6)).toString('hex')}`
}

function maybe<Value>(random: Random, make: () => Value): Value | undefined {
  return random.chance(0.3) ? make() : undefined
}

/** Any message that the bus may hand to a transport. */
export function randomMessage(random: Random): OutgoingMessage {
  const time = (): number => random.pick(TIMES) - random.integer(0, 999)
  const at = time()
  const id = random.pick([
    `id-${random.integer(0, 99)}`,
    randomText(random),
    idOf(random, at),
    idOf(random, at),
    idOf(random, at + 1),
  ])
  const topic = random.pick(['orders', 'orders.placed', 'orders.g.dlq'])
  return {
    id,
    topic,
    type: random.chance(0.5) ? topic : randomText(random),
    source: random.chance(0.5) ? 'shop' : randomText(random),
    time: at,
    key: maybe(random, () => randomText(random)),
    contentType: random.pick(['', 'application/json', 'application/json; charset=utf-8']),
    subject: maybe(random, () => randomText(random)),
    dataSchema: maybe(random, () => randomText(random)),
    version: maybe(random, () => random.integer(0, 999_999_999)),
    correlationId: random.chance(0.5) ? id : maybe(random, () => randomText(random)),
    causationId: maybe(random, () => randomText(random)),
    traceparent: maybe(random, () => '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'),
    tracestate: maybe(random, () => randomText(random)),
    expiresAt: maybe(random, time),
    headers: maybe(random, () => randomHeaders(random)) ?? NO_HEADERS,
    body: random.bytes(random.chance(0.1) ? 0 : random.integer(1, 40)),
    deliverAt: undefined,
    group: undefined,
  }
}

function randomHeaders(random: Random): Record<string, string> {
  const headers = Object.create(null) as Record<string, string>
  for (let left = random.integer(1, 4); left > 0; left--) headers[random.pick(NAMES)] = randomText(random)
  return headers
}

/** The parts that every transport must carry, comparable: bytes and headers without their classes. */
export function carried(message: EncodedMessage): object {
  const { headers, body, deliverAt: _deliverAt, group: _group, ...fields } = message as OutgoingMessage
  return { ...fields, headers: { ...headers }, body: body === null ? null : Buffer.from(body).toString('hex') }
}

/** The bytes after an accident: some flipped, cut off, repeated, left out or put in. */
export function damaged(random: Random, bytes: Uint8Array): Buffer {
  let made = Buffer.from(bytes)
  for (let left = random.integer(1, 4); left > 0; left--) {
    const at = random.integer(0, made.length)
    const until = random.integer(at, Math.min(made.length, at + 8))
    const how = random.integer(0, 4)
    if (how === 0) made = made.subarray(0, at)
    else if (how === 1) made = Buffer.concat([made.subarray(0, at), made.subarray(until)])
    else if (how === 2) made = Buffer.concat([made.subarray(0, until), made.subarray(at)])
    else if (how === 3) made = Buffer.concat([made.subarray(0, at), random.bytes(3), made.subarray(at)])
    else if (at < made.length) made[at] = random.pick([0, 1, 0x7f, 0x80, 0xce, 0xff, random.integer(0, 255)])
  }
  return made
}
