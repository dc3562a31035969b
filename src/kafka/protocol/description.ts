/** First and last version, both included. */
export interface VersionRange {
  readonly first: number
  readonly last: number
}

export type PrimitiveType =
  'bool' | 'i8' | 'i16' | 'u16' | 'i32' | 'i64' | 'time' | 'big' | 'f64' | 'str' | 'bytes' | 'records' | 'uuid'

/** What a description says about a field, in all versions. */
export interface FieldDescription {
  readonly name: string
  /** A primitive, or the fields of a struct. */
  readonly type: PrimitiveType | readonly FieldDescription[]
  readonly isArray: boolean
  readonly versions: VersionRange
  readonly nullable: VersionRange | undefined
  readonly tag: number | undefined
  readonly defaultValue: DefaultValue
  /** A value other than the default must not be left out silently for a broker whose version lacks the field. */
  readonly required: boolean
}

export type DefaultValue = string | number | bigint | boolean | null | undefined

export interface MessageDescription {
  readonly versions: VersionRange
  /** From this version on: compact lengths, and tagged fields. `Infinity`: never. */
  readonly flexibleFrom: number
}

export interface ApiDescription extends MessageDescription {
  readonly key: number
  readonly name: string
  /** The last version may still change in the broker: not used unless asked for. */
  readonly isLastUnstable: boolean
  readonly request: readonly FieldDescription[]
  readonly response: readonly FieldDescription[]
}

/** Structures inside other messages' bytes. */
export interface DataDescription extends MessageDescription {
  readonly name: string
  readonly fields: readonly FieldDescription[]
}

export function includes(range: VersionRange | undefined, version: number): boolean {
  return range !== undefined && version >= range.first && version <= range.last
}
