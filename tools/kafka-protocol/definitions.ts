// Apache Kafka's own definitions of its messages, as plain facts that can be compared with our descriptions.

import { join } from 'node:path'
import type { FieldDescription, VersionRange } from '../../src/kafka/protocol/description.ts'
import { kafkaInstall } from '../brokers/kafka-install.ts'
import { filesInJar } from './jar.ts'

export interface Definition {
  readonly apiKey?: number
  readonly type: 'request' | 'response' | 'data' | 'header'
  readonly name: string
  readonly validVersions: string
  readonly flexibleVersions: string
  readonly latestVersionUnstable?: boolean
  readonly listeners?: readonly string[]
  readonly fields: readonly DefinedField[]
  readonly commonStructs?: readonly { readonly name: string; readonly fields: readonly DefinedField[] }[]
}

interface DefinedField {
  readonly name: string
  readonly type: string
  readonly versions: string
  readonly nullableVersions?: string
  readonly taggedVersions?: string
  readonly tag?: number
  readonly default?: string | number
  readonly ignorable?: boolean
  readonly fields?: readonly DefinedField[]
}

/** A field, the same for both sides. */
export interface FieldFacts {
  readonly name: string
  readonly type: string
  readonly isArray: boolean
  readonly versions: string
  readonly nullable: string
  readonly tag: number | undefined
  readonly defaultValue: string
  readonly required: boolean
  readonly fields: readonly FieldFacts[]
}

const TYPES: Readonly<Record<string, string>> = {
  int8: 'i8',
  int16: 'i16',
  int32: 'i32',
  int64: 'i64',
  uint16: 'u16',
  float64: 'f64',
  string: 'str',
}

/** The definitions in the kafka-clients jar that tools/brokers gets. */
export async function publishedDefinitions(): Promise<readonly Definition[]> {
  const { dir, version } = await kafkaInstall()
  const files = filesInJar(join(dir, 'lib', `kafka-clients-${version}.jar`), 'common/message/')
  return [...files]
    .filter(([name]) => name.endsWith('.json'))
    .map(([, content]) => JSON.parse(withoutComments(content.toString())) as Definition)
}

/** Comments are lines of their own, or follow a value. */
function withoutComments(text: string): string {
  return text.replaceAll(/^\s*\/\/.*$/gm, '').replaceAll(/\s\/\/ .*$/gm, '')
}

/** The facts of a definition's fields in the versions that a broker accepts. */
export function definedFacts(definition: Definition): readonly FieldFacts[] {
  const commons = new Map(definition.commonStructs?.map(({ name, fields }) => [name, fields]))
  return factsOf(definition.fields, commons, versionsOf(definition.validVersions))
}

function factsOf(
  fields: readonly DefinedField[],
  commons: ReadonlyMap<string, readonly DefinedField[]>,
  within: VersionRange,
): readonly FieldFacts[] {
  return fields.flatMap((field): FieldFacts[] => {
    const versions = cut(field.versions, within)
    if (versions === undefined) return []
    const isArray = field.type.startsWith('[]')
    const type = isArray ? field.type.slice(2) : field.type
    const inner = field.fields ?? commons.get(type)
    return [
      {
        name: `${field.name.slice(0, 1).toLowerCase()}${field.name.slice(1)}`,
        type: inner === undefined ? (TYPES[type] ?? type) : 'struct',
        isArray,
        versions: textOf(versions),
        nullable: textOf(cut(field.nullableVersions ?? 'none', versions)),
        tag: field.tag,
        defaultValue: normalized(field.default),
        required: field.ignorable !== true && textOf(versions) !== textOf(within),
        fields: inner === undefined ? [] : factsOf(inner, commons, versions),
      },
    ]
  })
}

/** The same facts of one of our descriptions. */
export function describedFacts(fields: readonly FieldDescription[]): readonly FieldFacts[] {
  return fields.map((field) => ({
    name: field.name,
    type:
      typeof field.type === 'string' ? (field.type === 'time' || field.type === 'big' ? 'i64' : field.type) : 'struct',
    isArray: field.isArray,
    versions: textOf(field.versions),
    nullable: textOf(field.nullable),
    tag: field.tag,
    defaultValue: normalized(field.defaultValue === null ? 'null' : field.defaultValue),
    required: field.required,
    fields: typeof field.type === 'string' ? [] : describedFacts(field.type),
  }))
}

/** Zero, false and the empty string are what a field has without a default. */
function normalized(value: string | number | bigint | boolean | undefined): string {
  const text = value === undefined ? '' : String(value)
  if (text === '0' || text === 'false') return ''
  return text.startsWith('0x') ? String(Number(text)) : text
}

export function versionsOf(text: string): VersionRange {
  const [first = '', last = first] = text.split('-')
  return { first: Number(first), last: Number(last) }
}

function cut(text: string, within: VersionRange): VersionRange | undefined {
  if (text === 'none') return undefined
  const open = text.endsWith('+')
  const { first, last } = versionsOf(open ? text.slice(0, -1) : text)
  const range = { first: Math.max(first, within.first), last: open ? within.last : Math.min(last, within.last) }
  return range.first > range.last ? undefined : range
}

function textOf(range: VersionRange | undefined): string {
  return range === undefined ? 'none' : `${range.first}-${range.last}`
}
