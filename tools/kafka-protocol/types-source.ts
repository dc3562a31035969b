import type {
  ApiDescription,
  FieldDescription,
  PrimitiveType,
  VersionRange,
} from '../../src/kafka/protocol/description.ts'

const REQUEST: Readonly<Record<PrimitiveType, string>> = {
  bool: 'boolean',
  i8: 'number',
  i16: 'number',
  u16: 'number',
  i32: 'number',
  i64: 'number',
  time: 'number',
  big: 'bigint',
  f64: 'number',
  str: 'string',
  uuid: 'string',
  bytes: 'Uint8Array',
  records: 'Buffer | readonly Buffer[] | null',
}

const RESPONSE: Readonly<Record<PrimitiveType, string>> = { ...REQUEST, bytes: 'Buffer', records: 'Buffer | null' }

/** Interfaces of all requests and responses: the fields of all versions, each with its versions where it's not in all of them. */
export function typesSource(apis: readonly ApiDescription[]): string {
  const parts = apis.flatMap((api) => {
    const all = `${api.versions.first}-${api.versions.last}`
    return [
      `/** API ${api.key}, versions ${all}. */`,
      `export interface ${api.name}Request ${struct(api.request, api.versions, REQUEST)}`,
      '',
      `export interface ${api.name}Response ${struct(api.response, api.versions, RESPONSE)}`,
      '',
    ]
  })
  return [
    '// Made by tools/kafka-protocol from the descriptions; long because it has all messages. Change those and run:',
    '//     node tools/kafka-protocol/generate.ts',
    '',
    ...parts,
    'export interface Requests {',
    ...apis.map(({ name }) => `  ${name}: ${name}Request`),
    '}',
    '',
    'export interface Responses {',
    ...apis.map(({ name }) => `  ${name}: ${name}Response`),
    '}',
    '',
    'export type ApiName = keyof Requests',
    '',
    'export const API_KEYS: Readonly<Record<ApiName, number>> = {',
    ...apis.map(({ name, key }) => `  ${name}: ${key},`),
    '}',
    '',
  ].join('\n')
}

/** What has a default, or is not in all versions, may be left out of a request. */
export function isOptional(field: FieldDescription, within: VersionRange): boolean {
  return !isWhole(field, within) || field.defaultValue !== undefined || field.tag !== undefined
}

function isWhole({ versions }: FieldDescription, within: VersionRange): boolean {
  return versions.first === within.first && versions.last === within.last
}

function struct(
  fields: readonly FieldDescription[],
  within: VersionRange,
  types: Readonly<Record<PrimitiveType, string>>,
  indent = '  ',
): string {
  const lines = fields.map((field) => {
    const { first, last } = field.versions
    const note = isWhole(field, within) ? '' : `${indent}/** Versions ${first}-${last}. */\n`
    const mark = types === REQUEST && isOptional(field, within) ? '?' : ''
    return `${note}${indent}readonly ${field.name}${mark}: ${typeOf(field, types, indent)}`
  })
  return `{\n${lines.join('\n')}\n${indent.slice(2)}}`
}

function typeOf(field: FieldDescription, types: Readonly<Record<PrimitiveType, string>>, indent: string): string {
  const { type } = field
  const element = typeof type === 'string' ? types[type] : struct(type, field.versions, types, `${indent}  `)
  const whole = field.isArray ? `readonly ${element}[]` : element
  return field.nullable === undefined || whole.endsWith('| null') ? whole : `${whole} | null`
}
