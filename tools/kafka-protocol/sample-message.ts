import type { FieldDescription, PrimitiveType } from '../../src/kafka/protocol/description.ts'
import { includes } from '../../src/kafka/protocol/description.ts'
import { primitiveDefault } from '../../src/kafka/protocol/layout.ts'
import type { Message } from '../../src/kafka/protocol/read-message.ts'
import type { Random } from '../../src/testing/random.ts'

/** A random message with the fields of one version. The same sequence of random numbers makes the same message. */
export function sampleMessage(fields: readonly FieldDescription[], version: number, random: Random): Message {
  const message: Message = {}
  for (const field of fields) {
    if (includes(field.versions, version)) message[field.name] = sampleField(field, version, random)
  }
  return message
}

/** Fills in what a version lacks, as reading does: `sample` with all fields. */
export function withDefaults(fields: readonly FieldDescription[], sample: Readonly<Message>): Message {
  return Object.fromEntries(
    fields.map((field) => {
      const value = sample[field.name]
      if (value === undefined) return [field.name, defaultOf(field)]
      if (typeof field.type === 'string' || value === null) return [field.name, value]
      const inner = field.type
      if (!field.isArray) return [field.name, withDefaults(inner, value as Message)]
      return [field.name, (value as Message[]).map((element) => withDefaults(inner, element))]
    }),
  )
}

function defaultOf(field: FieldDescription): unknown {
  if (field.defaultValue !== undefined) return field.defaultValue
  if (field.isArray) return []
  return typeof field.type === 'string' ? primitiveDefault(field.type) : withDefaults(field.type, {})
}

function sampleField(field: FieldDescription, version: number, random: Random): unknown {
  if (includes(field.nullable, version) && random.chance(0.25)) return null
  // Tagged fields are left out if they have their default.
  if (field.tag !== undefined && random.chance(0.25)) return defaultOf(field)
  const one = (): unknown =>
    typeof field.type === 'string' ? samplePrimitive(field.type, random) : sampleMessage(field.type, version, random)
  return field.isArray ? Array.from({ length: random.integer(0, 3) }, one) : one()
}

function samplePrimitive(type: PrimitiveType, random: Random): unknown {
  switch (type) {
    case 'bool':
      return random.chance(0.5)
    case 'str':
      return random.pick(['', 'a', 'orders', 'größe', 'x'.repeat(200)])
    case 'bytes':
    case 'records':
      return Buffer.from(random.bytes(random.integer(0, 20)))
    case 'uuid':
      return Buffer.from(random.bytes(16)).toString('base64url')
    case 'f64':
      return random.next() * 1e6
    case 'big':
      return random.pick([-1n, 0n, 2n ** 63n - 1n, BigInt(random.integer(0, 2 ** 53 - 1))])
    case 'i64':
    case 'time':
      return random.pick([-1, 0, random.integer(0, 2 ** 53 - 1), -random.integer(0, 2 ** 53 - 1)])
    default:
      return sampleInteger(type, random)
  }
}

function sampleInteger(type: 'i8' | 'i16' | 'u16' | 'i32', random: Random): number {
  const limit = 2 ** (Number(type.slice(1)) - 1)
  return type === 'u16' ? random.integer(0, 65_535) : random.integer(-limit, limit - 1)
}
