// The compact notation that every message is described in:
//
//     api 1 Fetch 4-18 flex 12 { request } { response }       data Name 0-3 { fields }
//
// `flex n`: compact lengths and tagged fields from version n on. `unstable`: the last version may still change. A field is
//
//     name:type?nullable#tag@versions=default!
//
// with `[type]` for arrays, `[a:i32 b:str]` for arrays of structs and `{a:i32}` for structs; `?` nullable, `?2+` since version 2;
// `@7+`, `@-12`, `@3-5`, `@4` the versions that have the field (without: those of what it's in); `!`: may not be left out silently.

import type {
  ApiDescription,
  DataDescription,
  DefaultValue,
  FieldDescription,
  PrimitiveType,
  VersionRange,
} from './description.ts'

const TOKEN = /\s*(?:([A-Za-z]\w*)|(-?\d+(?:-\d+|\+)?)|(\S))/y
const PRIMITIVES: readonly string[] = 'bool i8 i16 u16 i32 i64 time big f64 str bytes records uuid'.split(' ')

export function parseApis(text: string): readonly ApiDescription[] {
  const parser = new Parser(text)
  const apis: ApiDescription[] = []
  while (!parser.atEnd()) apis.push(parser.api())
  return apis
}

export function parseData(text: string): readonly DataDescription[] {
  const parser = new Parser(text)
  const data: DataDescription[] = []
  while (!parser.atEnd()) data.push(parser.data())
  return data
}

function common(a: VersionRange, b: VersionRange): VersionRange {
  return { first: Math.max(a.first, b.first), last: Math.min(a.last, b.last) }
}

class Parser {
  readonly #text: string
  #pos = 0
  #token = ''

  constructor(text: string) {
    this.#text = text
    this.#next()
  }

  atEnd(): boolean {
    return this.#token === ''
  }

  api(): ApiDescription {
    this.#expect('api')
    const key = Number(this.#take())
    const name = this.#take()
    const versions = this.#range(undefined)
    const flexibleFrom = this.#accept('flex') ? Number(this.#take()) : Number.POSITIVE_INFINITY
    const isLastUnstable = this.#accept('unstable')
    const request = this.#fields('{', '}', versions)
    const response = this.#fields('{', '}', versions)
    return { key, name, versions, flexibleFrom, isLastUnstable, request, response }
  }

  data(): DataDescription {
    this.#expect('data')
    const name = this.#take()
    const versions = this.#range(undefined)
    return { name, versions, flexibleFrom: Number.POSITIVE_INFINITY, fields: this.#fields('{', '}', versions) }
  }

  #fields(open: string, close: string, versions: VersionRange): readonly FieldDescription[] {
    this.#expect(open)
    const fields: FieldDescription[] = []
    while (!this.#accept(close)) fields.push(this.#field(versions))
    return fields
  }

  /** The versions of a struct's fields are within those of the struct, which come after it: it's read twice. */
  #field(within: VersionRange): FieldDescription {
    const start = this.#pos - this.#token.length
    const outer = this.#fieldWithin(within, within)
    if (typeof outer.type === 'string' || outer.versions === within) return outer
    this.#pos = start
    this.#next()
    return this.#fieldWithin(within, outer.versions)
  }

  #fieldWithin(within: VersionRange, inner: VersionRange): FieldDescription {
    const name = this.#take()
    this.#expect(':')
    const isArray = this.#token === '['
    const type = this.#type(inner)
    const nullableIn = this.#accept('?') ? this.#rangeOr(within) : undefined
    const tag = this.#accept('#') ? Number(this.#take()) : undefined
    const versions = this.#accept('@') ? this.#range(within) : within
    const nullable = nullableIn === undefined ? undefined : common(nullableIn, versions)
    const defaultValue = this.#accept('=') ? this.#default(type) : undefined
    const required = this.#accept('!')
    return { name, type, isArray, versions, nullable, tag, defaultValue, required }
  }

  #type(versions: VersionRange): FieldDescription['type'] {
    if (this.#token === '{') return this.#fields('{', '}', versions)
    if (this.#token !== '[') return this.#primitive()
    const rest = this.#text.slice(this.#pos)
    if (/^\s*\w+\s*:/.test(rest)) return this.#fields('[', ']', versions)
    this.#expect('[')
    const type = this.#primitive()
    this.#expect(']')
    return type
  }

  #primitive(): PrimitiveType {
    const word = this.#take()
    if (!PRIMITIVES.includes(word)) this.#fail(`${word} is not a type`)
    return word as PrimitiveType
  }

  #default(type: FieldDescription['type']): DefaultValue {
    const word = this.#take()
    if (word === 'null') return null
    if (word === 'true') return true
    if (word === 'false') return false
    if (!/^-?\d+$/.test(word)) this.#fail(`${word} is not a default`)
    return type === 'big' ? BigInt(word) : Number(word)
  }

  #rangeOr(otherwise: VersionRange): VersionRange {
    return /^-?\d/.test(this.#token) ? this.#range(otherwise) : otherwise
  }

  /** `7+` · `-12` · `3-5` · `4` */
  #range(within: VersionRange | undefined): VersionRange {
    const word = this.#take()
    const [, until, first, plus, last] = /^(?:-(\d+)|(\d+)(?:(\+)|-(\d+))?)$/.exec(word) ?? this.#fail(`range ${word}`)
    if (until !== undefined && within !== undefined) return { first: within.first, last: Number(until) }
    if (plus !== undefined && within !== undefined) return { first: Number(first), last: within.last }
    if (until !== undefined || plus !== undefined) return this.#fail(`range ${word} has no end`)
    return { first: Number(first), last: Number(last ?? first) }
  }

  #accept(token: string): boolean {
    if (this.#token !== token) return false
    this.#next()
    return true
  }

  #expect(token: string): void {
    if (!this.#accept(token)) this.#fail(`${token} expected, not ${this.#token || 'the end'}`)
  }

  #take(): string {
    const token = this.#token
    if (token === '') this.#fail('more expected')
    this.#next()
    return token
  }

  #next(): void {
    TOKEN.lastIndex = this.#pos
    const match = TOKEN.exec(this.#text)
    if (match === null) {
      this.#pos = this.#text.length
      this.#token = ''
      return
    }
    this.#pos = TOKEN.lastIndex
    this.#token = match[1] ?? match[2] ?? match[3] ?? ''
  }

  #fail(what: string): never {
    const before = this.#text.slice(0, this.#pos)
    throw new Error(`description, line ${before.split('\n').length}: ${what}`)
  }
}
