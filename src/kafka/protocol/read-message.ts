import type { Reader } from '../bytes/reader.ts'
import { minElementSize } from './layout.ts'
import type { Layout, LayoutField } from './layout.ts'
import type { PrimitiveType } from './description.ts'

export type Message = Record<string, unknown>

/** Reads a struct as its table says. Fields that the version lacks get their default, so that all versions have one shape. */
export function readMessage(layout: Layout, reader: Reader): Message {
  const message: Message = {}
  for (const field of layout.fields) {
    message[field.name] =
      field.isPresent && field.tag === undefined ? readField(field, layout.isFlexible, reader) : field.defaultValue()
  }
  if (layout.isFlexible) readTags(layout, message, reader)
  return message
}

function readTags(layout: Layout, message: Message, reader: Reader): void {
  if (layout.tagged.length === 0) return reader.skipTags()
  for (let left = reader.uvarint(); left > 0; left--) {
    const tag = reader.uvarint()
    const end = reader.tagEnd()
    const field = layout.tagged.find((candidate) => candidate.tag === tag)
    if (field === undefined) reader.pos = end
    else message[field.name] = readField(field, true, reader)
    reader.expectAt(end)
  }
}

function readField(field: LayoutField, isFlexible: boolean, reader: Reader): unknown {
  if (field.isArray) return readArray(field, isFlexible, reader)
  if (typeof field.type === 'string') return readPrimitive(field.type, field, isFlexible, reader)
  // A struct that may be null has a byte before it.
  if (field.isNullable && reader.i8() < 0) return null
  return readMessage(field.type, reader)
}

function readArray(field: LayoutField, isFlexible: boolean, reader: Reader): unknown {
  const count = reader.count(isFlexible, minElementSize(field, isFlexible))
  if (count === -1) return field.isNullable ? null : reader.unexpectedNull(field.name)
  const { type } = field
  const element = { ...field, isNullable: false }
  const array: unknown[] = []
  for (let index = 0; index < count; index++) {
    array.push(typeof type === 'string' ? readPrimitive(type, element, isFlexible, reader) : readMessage(type, reader))
  }
  return array
}

function readPrimitive(type: PrimitiveType, field: LayoutField, compact: boolean, reader: Reader): unknown {
  switch (type) {
    case 'str':
      return reader.strOrNull(compact) ?? orNull(field, reader)
    case 'bytes':
    case 'records':
      return reader.bytesOrNull(compact) ?? orNull(field, reader)
    default:
      return reader[type]()
  }
}

function orNull(field: LayoutField, reader: Reader): null {
  return field.isNullable ? null : reader.unexpectedNull(field.name)
}
