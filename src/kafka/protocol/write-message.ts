import type { Writer } from '../bytes/writer.ts'
import { UnencodableError } from '../errors.ts'
import type { PrimitiveType } from './description.ts'
import type { Layout, LayoutField } from './layout.ts'
import type { Message } from './read-message.ts'

/** Writes a struct as its table says. What is `undefined` has its default. */
export function writeMessage(layout: Layout, message: Readonly<Message>, writer: Writer, what: string): void {
  for (const field of layout.fields) {
    const value = message[field.name]
    if (!field.isPresent) {
      if (field.required && !isDefault(field, value)) throw absentField(what, field.name)
    } else if (field.tag === undefined) {
      writeField(field, value === undefined ? field.defaultValue() : value, layout.isFlexible, writer, what)
    }
  }
  if (layout.isFlexible) writeTags(layout, message, writer, what)
}

/** The broker's version has no place for a value that must not be left out. */
export function absentField(what: string, name: string): UnencodableError {
  return new UnencodableError(`${what} has no field ${name}: the broker is too old for what was asked`)
}

/** Null where the protocol has no null, or a value of another type. */
function wrongValue(what: string, name: string, value: unknown): UnencodableError {
  return new UnencodableError(`${what}: ${name} can't be ${value === null ? 'null' : typeof value}`)
}

function writeTags(layout: Layout, message: Readonly<Message>, writer: Writer, what: string): void {
  const given = layout.tagged.filter((field) => !isDefault(field, message[field.name]))
  writer.uvarint(given.length)
  for (const field of given) {
    writer.tag(field.tag ?? 0, (aside) => writeField(field, message[field.name], true, aside, what))
  }
}

function writeField(field: LayoutField, value: unknown, isFlexible: boolean, writer: Writer, what: string): void {
  if (value === null && !field.isNullable && field.type !== 'records') throw wrongValue(what, field.name, value)
  if (field.isArray) return writeArray(field, value, isFlexible, writer, what)
  if (typeof field.type === 'string') return writePrimitive(field.type, field.name, value, isFlexible, writer, what)
  if (field.isNullable) writer.i8(value === null ? -1 : 1)
  if (value !== null) writeMessage(field.type, asMessage(value, field.name, what), writer, what)
}

function writeArray(field: LayoutField, value: unknown, isFlexible: boolean, writer: Writer, what: string): void {
  if (value === null) return writer.length(-1, isFlexible)
  if (!Array.isArray(value)) throw wrongValue(what, field.name, value)
  writer.length(value.length, isFlexible)
  for (const element of value as unknown[]) {
    if (typeof field.type === 'string') writePrimitive(field.type, field.name, element, isFlexible, writer, what)
    else writeMessage(field.type, asMessage(element, field.name, what), writer, what)
  }
}

function writePrimitive(
  type: PrimitiveType,
  name: string,
  value: unknown,
  compact: boolean,
  writer: Writer,
  what: string,
): void {
  switch (type) {
    case 'str':
      if (value !== null && typeof value !== 'string') throw wrongValue(what, name, value)
      return writer.strOrNull(value, compact)
    case 'bytes':
      if (value !== null && !(value instanceof Uint8Array)) throw wrongValue(what, name, value)
      return writer.bytesOrNull(value, compact)
    case 'records':
      return writer.records(value as Buffer | readonly Buffer[] | null, compact)
    case 'uuid':
      if (typeof value !== 'string') throw wrongValue(what, name, value)
      return writer.uuid(value)
    case 'bool':
      if (typeof value !== 'boolean') throw wrongValue(what, name, value)
      return writer.bool(value)
    case 'big':
      if (typeof value !== 'bigint') throw wrongValue(what, name, value)
      return writer.big(value)
    default:
      if (typeof value !== 'number') throw wrongValue(what, name, value)
      return writer[type](value)
  }
}

function asMessage(value: unknown, name: string, what: string): Readonly<Message> {
  if (typeof value !== 'object' || value === null) throw wrongValue(what, name, value)
  return value as Readonly<Message>
}

/** Tagged fields with their default value are left out. */
function isDefault(field: LayoutField, value: unknown): boolean {
  if (value === undefined) return true
  const defaultValue = field.defaultValue()
  if (value === defaultValue) return true
  if (value === null || defaultValue === null) return false
  if (field.isArray || value instanceof Uint8Array) return (value as unknown[]).length === 0
  if (typeof field.type === 'string') return false
  const message = value as Readonly<Message>
  return field.type.fields.every((inner) => isDefault(inner, message[inner.name]))
}

/** For generated writers: a value that only other versions may leave out. */
export function notNull<T>(value: T, what: string, name: string): NonNullable<T> {
  if (value === null || value === undefined) throw wrongValue(what, name, value)
  return value
}
