import type { FieldDescription, VersionRange } from '../../src/kafka/protocol/description.ts'
import type { Layout, LayoutField } from '../../src/kafka/protocol/layout.ts'
import { literal, nameOf } from './source-text.ts'
import { isOptional } from './types-source.ts'

/** The body of a straight-line function that writes one version of a request `m` to `w`; `what` names it in errors. */
export function writerBody(layout: Layout, fields: readonly FieldDescription[], within: VersionRange): string {
  return writeStruct(layout, fields, within, 'm', '', 'w', '  ').join('\n')
}

function writeStruct(
  layout: Layout,
  fields: readonly FieldDescription[],
  within: VersionRange,
  source: string,
  prefix: string,
  w: string,
  indent: string,
): string[] {
  const lines: string[] = []
  for (const [index, field] of layout.fields.entries()) {
    const description = fields[index]
    if (description === undefined) throw new Error('layout and description differ')
    const path = `${source}.${field.name}`
    if (!field.isPresent) {
      if (field.required) lines.push(`${indent}if (${isGiven(field, path)}) throw absentField(what, '${field.name}')`)
    } else if (field.tag === undefined) {
      const value = isOptional(description, within) ? withDefault(field, description, path) : path
      lines.push(...writeField(field, description, layout.isFlexible, value, nameOf(prefix, field.name), w, indent))
    }
  }
  if (layout.isFlexible) lines.push(...writeTags(layout, fields, source, prefix, w, indent))
  return lines
}

function writeTags(
  layout: Layout,
  fields: readonly FieldDescription[],
  source: string,
  prefix: string,
  w: string,
  indent: string,
): string[] {
  if (layout.tagged.length === 0) return [`${indent}${w}.uvarint(0)`]
  const lines: string[] = []
  for (const field of layout.tagged) {
    lines.push(`${indent}const ${nameOf(prefix, field.name)} = ${source}.${field.name}`)
  }
  const conditions = layout.tagged.map((field) => isGiven(field, nameOf(prefix, field.name)))
  lines.push(`${indent}${w}.uvarint(${conditions.map((condition) => `(${condition} ? 1 : 0)`).join(' + ')})`)
  for (const [index, field] of layout.tagged.entries()) {
    const description = fields.find(({ name }) => name === field.name)
    if (description === undefined) throw new Error('layout and description differ')
    const variable = nameOf(prefix, field.name)
    lines.push(
      `${indent}if (${conditions[index]}) {`,
      `${indent}  ${w}.tag(${field.tag}, (aside) => {`,
      ...writeField(field, description, true, variable, variable, 'aside', `${indent}    `),
      `${indent}  })`,
      `${indent}}`,
    )
  }
  return lines
}

function writeField(
  field: LayoutField,
  description: FieldDescription,
  compact: boolean,
  value: string,
  variable: string,
  w: string,
  indent: string,
): string[] {
  const checked =
    description.nullable !== undefined && !field.isNullable && field.type !== 'records'
      ? `notNull(${value}, what, '${field.name}')`
      : value
  if (field.isArray) return writeArray(field, description, compact, checked, variable, w, indent)
  if (typeof field.type === 'string') return [`${indent}${primitive(field, compact, checked, w)}`]
  if (field.isNullable) throw new Error(`${field.name}: nullable structs in hot requests are not generated`)
  return writeStruct(field.type, fieldsOf(description), description.versions, checked, variable, w, indent)
}

function writeArray(
  field: LayoutField,
  description: FieldDescription,
  compact: boolean,
  value: string,
  variable: string,
  w: string,
  indent: string,
): string[] {
  const list = nameOf(variable, 'list')
  const element = nameOf(variable, 'element')
  const lines = [`${indent}const ${list} = ${value}`]
  const deeper = field.isNullable ? `${indent}  ` : indent
  if (field.isNullable) {
    lines.push(`${indent}if (${list} === null) ${w}.length(-1, ${compact})`, `${indent}else {`)
  }
  lines.push(`${deeper}${w}.length(${list}.length, ${compact})`, `${deeper}for (const ${element} of ${list}) {`)
  if (typeof field.type === 'string') {
    lines.push(`${deeper}  ${primitive({ ...field, isNullable: false }, compact, element, w)}`)
  } else {
    const { versions } = description
    lines.push(...writeStruct(field.type, fieldsOf(description), versions, element, '', w, `${deeper}  `))
  }
  lines.push(`${deeper}}`)
  if (field.isNullable) lines.push(`${indent}}`)
  return lines
}

function primitive(field: LayoutField, compact: boolean, value: string, w: string): string {
  const orNull = field.isNullable ? 'OrNull' : ''
  if (field.type === 'str' || field.type === 'bytes') return `${w}.${field.type}${orNull}(${value}, ${compact})`
  if (field.type === 'records') return `${w}.records(${value}, ${compact})`
  if (typeof field.type !== 'string') throw new Error(`${field.name} is a struct`)
  return `${w}.${field.type}(${value})`
}

function withDefault(field: LayoutField, description: FieldDescription, path: string): string {
  const value = literal(field.defaultValue())
  // Null is a value of its own.
  if (description.nullable !== undefined && value !== 'null') return `(${path} === undefined ? ${value} : ${path})`
  return `(${path} ?? ${value})`
}

/** Whether a value is not the default. */
function isGiven(field: LayoutField, path: string): string {
  const value = literal(field.defaultValue())
  if (field.isArray) {
    return value === 'null' ? `(${path} ?? null) !== null` : `${path} !== undefined && ${path}?.length !== 0`
  }
  if (value === 'false') return `${path} === true`
  if (value === 'true') return `${path} === false`
  if (typeof field.type === 'string') return `${path} !== undefined && ${path} !== ${value}`
  const inner = field.type.fields.map((each) => `(${isGiven(each, `${path}.${each.name}`)})`)
  return `${path} !== undefined && (${inner.join(' || ')})`
}

function fieldsOf(description: FieldDescription): readonly FieldDescription[] {
  if (typeof description.type === 'string') throw new Error(`${description.name} is not a struct`)
  return description.type
}
