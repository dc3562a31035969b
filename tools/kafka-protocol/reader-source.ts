import type { Layout, LayoutField } from '../../src/kafka/protocol/layout.ts'
import { minElementSize } from '../../src/kafka/protocol/layout.ts'
import { literal, nameOf } from './source-text.ts'

/** The body of a straight-line function that reads one version of a message from `r`. */
export function readerBody(layout: Layout, type: string): string {
  const lines: string[] = []
  const result = readStruct(layout, '', type, lines, '  ')
  return [...lines, `  return ${result}`].join('\n')
}

function readStruct(layout: Layout, prefix: string, type: string, lines: string[], indent: string): string {
  const entries = layout.fields.map((field) => {
    const variable = nameOf(prefix, field.name)
    const fieldType = `${type}['${field.name}']`
    if (!field.isPresent) return `${field.name}: ${literal(field.defaultValue())}`
    if (field.tag === undefined) lines.push(...readField(field, layout.isFlexible, variable, fieldType, indent))
    else lines.push(`${indent}let ${variable}: ${fieldType} = ${literal(field.defaultValue())}`)
    return variable === field.name ? field.name : `${field.name}: ${variable}`
  })
  if (layout.isFlexible) lines.push(...readTags(layout, prefix, type, indent))
  return `{ ${entries.join(', ')} }`
}

function readTags(layout: Layout, prefix: string, type: string, indent: string): string[] {
  if (layout.tagged.length === 0) return [`${indent}r.skipTags()`]
  const cases = layout.tagged.flatMap((field) => {
    const variable = nameOf(prefix, field.name)
    const inner = nameOf(variable, 'tagged')
    return [
      `${indent}    case ${field.tag}: {`,
      ...readField(field, true, inner, `${type}['${field.name}']`, `${indent}      `),
      `${indent}      ${variable} = ${inner}`,
      `${indent}      break`,
      `${indent}    }`,
    ]
  })
  return [
    `${indent}for (let left = r.uvarint(); left > 0; left--) {`,
    `${indent}  const tag = r.uvarint()`,
    `${indent}  const end = r.tagEnd()`,
    `${indent}  switch (tag) {`,
    ...cases,
    `${indent}    default:`,
    `${indent}      r.pos = end`,
    `${indent}  }`,
    `${indent}  r.expectAt(end)`,
    `${indent}}`,
  ]
}

function readField(field: LayoutField, compact: boolean, variable: string, type: string, indent: string): string[] {
  if (field.isArray) return readArray(field, compact, variable, type, indent)
  if (typeof field.type === 'string') return [`${indent}const ${variable} = ${primitive(field, compact)}`]
  if (field.isNullable) {
    const lines = [`${indent}let ${variable}: ${type} = null`, `${indent}if (r.i8() >= 0) {`]
    const result = readStruct(field.type, variable, `NonNullable<${type}>`, lines, `${indent}  `)
    return [...lines, `${indent}  ${variable} = ${result}`, `${indent}}`]
  }
  const lines: string[] = []
  const result = readStruct(field.type, variable, type, lines, indent)
  return [...lines, `${indent}const ${variable} = ${result}`]
}

function readArray(field: LayoutField, compact: boolean, variable: string, type: string, indent: string): string[] {
  const count = nameOf(variable, 'count')
  const index = nameOf(variable, 'index')
  const element = `NonNullable<${type}>[number]`
  const list = field.isNullable ? nameOf(variable, 'list') : variable
  const deeper = field.isNullable ? `${indent}  ` : indent
  const lines = [`${indent}const ${count} = r.count(${compact}, ${minElementSize(field, compact)})`]
  if (field.isNullable) lines.push(`${indent}let ${variable}: ${type} = null`, `${indent}if (${count} !== -1) {`)
  else lines.push(`${indent}if (${count} === -1) r.unexpectedNull('${field.name}')`)
  lines.push(`${deeper}const ${list}: ${element}[] = []`)
  lines.push(`${deeper}for (let ${index} = 0; ${index} < ${count}; ${index}++) {`)
  if (typeof field.type === 'string') {
    lines.push(`${deeper}  ${list}.push(${primitive({ ...field, isNullable: false }, compact)})`)
  } else {
    // In its own block, so short names do; one that hides the list would be a wrong program.
    if (field.type.fields.some(({ name }) => name === list)) throw new Error(`${list} has a field ${list}`)
    const result = readStruct(field.type, '', element, lines, `${deeper}  `)
    lines.push(`${deeper}  ${list}.push(${result})`)
  }
  lines.push(`${deeper}}`)
  if (field.isNullable) lines.push(`${indent}  ${variable} = ${list}`, `${indent}}`)
  return lines
}

function primitive(field: LayoutField, compact: boolean): string {
  const orNull = field.isNullable ? 'OrNull' : ''
  if (field.type === 'str') return `r.str${orNull}(${compact})`
  if (field.type === 'bytes' || field.type === 'records') return `r.bytes${orNull}(${compact})`
  if (typeof field.type !== 'string') throw new Error(`${field.name} is a struct`)
  return `r.${field.type}()`
}
