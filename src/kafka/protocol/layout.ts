import type { FieldDescription, MessageDescription, PrimitiveType } from './description.ts'
import { includes } from './description.ts'

/** How one version of a message lies in bytes. */
export interface Layout {
  readonly fields: readonly LayoutField[]
  readonly isFlexible: boolean
  /** By tag, ascending. */
  readonly tagged: readonly LayoutField[]
  /** No value takes fewer bytes. */
  readonly minSize: number
}

export interface LayoutField {
  readonly name: string
  readonly type: PrimitiveType | Layout
  readonly isArray: boolean
  readonly isNullable: boolean
  /** Whether this version has the field. If not, reading gives the default. */
  readonly isPresent: boolean
  readonly tag: number | undefined
  /** A fresh value each time: arrays and structs are not shared. */
  readonly defaultValue: () => unknown
  readonly required: boolean
}

export const ZERO_UUID = 'AAAAAAAAAAAAAAAAAAAAAA'

const SIZES: Readonly<Record<PrimitiveType, number>> = {
  bool: 1,
  i8: 1,
  i16: 2,
  u16: 2,
  i32: 4,
  i64: 8,
  time: 8,
  big: 8,
  f64: 8,
  uuid: 16,
  str: 2,
  bytes: 4,
  records: 4,
}

export function layoutOf(message: MessageDescription, fields: readonly FieldDescription[], version: number): Layout {
  return structLayout(fields, version, version >= message.flexibleFrom)
}

function structLayout(descriptions: readonly FieldDescription[], version: number, isFlexible: boolean): Layout {
  const fields = descriptions.map((description) => fieldLayout(description, version, isFlexible))
  const tagged = fields
    .filter((field) => field.isPresent && field.tag !== undefined)
    .toSorted((a, b) => (a.tag ?? 0) - (b.tag ?? 0))
  let minSize = isFlexible ? 1 : 0
  for (const field of fields) if (field.isPresent && field.tag === undefined) minSize += minSizeOf(field, isFlexible)
  return { fields, isFlexible, tagged, minSize }
}

function fieldLayout(description: FieldDescription, version: number, isFlexible: boolean): LayoutField {
  const { name, isArray, tag, required } = description
  const type =
    typeof description.type === 'string' ? description.type : structLayout(description.type, version, isFlexible)
  return {
    name,
    type,
    isArray,
    // Brokers send null and empty records alike, whatever the version.
    isNullable: type === 'records' || includes(description.nullable, version),
    isPresent: includes(description.versions, version),
    tag,
    defaultValue: defaultOf(description, type),
    required,
  }
}

function minSizeOf(field: LayoutField, isFlexible: boolean): number {
  if (field.isArray) return isFlexible ? 1 : 4
  if (typeof field.type !== 'string') return field.isNullable ? 1 : field.type.minSize
  const isLength = field.type === 'str' || field.type === 'bytes' || field.type === 'records'
  return isLength && isFlexible ? 1 : SIZES[field.type]
}

/** The smallest size of an element of an array. */
export function minElementSize(field: LayoutField, isFlexible: boolean): number {
  return Math.max(1, minSizeOf({ ...field, isArray: false, isNullable: false }, isFlexible))
}

function defaultOf(description: FieldDescription, type: PrimitiveType | Layout): () => unknown {
  const { defaultValue } = description
  if (defaultValue !== undefined) return () => defaultValue
  if (description.isArray) return () => []
  if (typeof type !== 'string') return () => defaultStruct(type)
  return () => primitiveDefault(type)
}

function defaultStruct(layout: Layout): Record<string, unknown> {
  return Object.fromEntries(layout.fields.map((field) => [field.name, field.defaultValue()]))
}

export function primitiveDefault(type: PrimitiveType): unknown {
  if (type === 'bool') return false
  if (type === 'str') return ''
  if (type === 'uuid') return ZERO_UUID
  if (type === 'bytes') return Buffer.alloc(0)
  if (type === 'records') return null
  return type === 'big' ? 0n : 0
}
