import { Reader } from '../bytes/reader.ts'
import { Writer } from '../bytes/writer.ts'
import { MalformedError } from '../errors.ts'
import type { DataDescription } from './description.ts'
import { EMBEDDED } from './descriptions/embedded.ts'
import { layoutOf } from './layout.ts'
import { parseData } from './notation.ts'
import { readMessage } from './read-message.ts'
import type { Message } from './read-message.ts'
import { writeMessage } from './write-message.ts'

/** What a member of a classic group tells its leader. */
export interface Subscription {
  readonly topics: readonly string[]
  readonly userData: Uint8Array | null
  readonly ownedPartitions: readonly TopicPartitions[]
  readonly generationId: number
  readonly rackId: string | null
}

/** What the leader of a classic group gives a member. */
export interface Assignment {
  readonly assignedPartitions: readonly TopicPartitions[]
  readonly userData: Uint8Array | null
}

export interface TopicPartitions {
  readonly topic: string
  readonly partitions: readonly number[]
}

export function encodeSubscription(subscription: Subscription): Buffer {
  return encode('ConsumerProtocolSubscription', subscription)
}

/** Some clients (Sarama once, `@platformatic/kafka`) name version 1 and write version 0, which has no owned partitions. */
export function decodeSubscription(bytes: Buffer): Subscription {
  try {
    return decode('ConsumerProtocolSubscription', new Reader(bytes)) as unknown as Subscription
  } catch (error) {
    const again = new Reader(bytes)
    const old = decode('ConsumerProtocolSubscription', again, 0)
    if (again.remaining > 0) throw error
    return old as unknown as Subscription
  }
}

export function encodeAssignment(assignment: Assignment): Buffer {
  return encode('ConsumerProtocolAssignment', assignment)
}

/** No bytes are an empty assignment: what a member gets that the leader gave nothing. */
export function decodeAssignment(bytes: Buffer): Assignment {
  if (bytes.length === 0) return { assignedPartitions: [], userData: null }
  return decode('ConsumerProtocolAssignment', new Reader(bytes)) as unknown as Assignment
}

let descriptions: readonly DataDescription[] | undefined

function descriptionOf(name: string): DataDescription {
  descriptions ??= parseData(EMBEDDED)
  const description = descriptions.find((each) => each.name === name)
  if (description === undefined) throw new Error(`no description of ${name}`)
  return description
}

function encode(name: string, message: Subscription | Assignment): Buffer {
  const description = descriptionOf(name)
  const version = description.versions.last
  const writer = new Writer()
  writer.i16(version)
  writeMessage(
    layoutOf(description, description.fields, version),
    message as unknown as Readonly<Message>,
    writer,
    name,
  )
  return writer.toBuffer()
}

/** Newer versions only add fields at the end: they are read as the newest that is known here, or as `last`, and the rest is left. */
function decode(name: string, reader: Reader, last = Infinity): Message {
  const description = descriptionOf(name)
  const version = reader.i16()
  if (version < 0) throw new MalformedError('INVALID_VALUE', `${name} v${version}`)
  const known = Math.min(version, description.versions.last, last)
  return readMessage(layoutOf(description, description.fields, known), reader)
}
