import type { EncodedMessage } from '../message.ts'
import { describe } from '../util/options-reader.ts'
import type { OptionsReader } from '../util/options-reader.ts'

/** A `Where`, ready to be applied. A message is wanted when both parts say so. */
export interface MessageFilter {
  /** What can be told before the body is decoded; undefined when nothing can. */
  readonly ofAttributes: ((message: EncodedMessage) => boolean) | undefined
  /** What needs the data; undefined when nothing does. */
  readonly ofData: ((data: unknown, message: EncodedMessage) => boolean) | undefined
}

/** `undefined` stands for a missing value. */
type Test = (value: unknown) => boolean

/** Names and conditions of one object. */
type Entries = readonly (readonly [string, unknown])[]

/** A condition of a message. */
interface Clause {
  readonly needsData: boolean
  readonly test: (data: unknown, message: EncodedMessage) => boolean
}

/** A filter may come from a user of a tool: its conditions are applied by recursion, which must not run out of stack. */
const MAX_DEPTH = 32
const MISSING = undefined

const RANGES: Readonly<Record<string, (value: string | number, bound: string | number) => boolean>> = {
  gt: (value, bound) => value > bound,
  gte: (value, bound) => value >= bound,
  lt: (value, bound) => value < bound,
  lte: (value, bound) => value <= bound,
}
const ENDS: Readonly<Record<string, (value: string, end: string) => boolean>> = {
  prefix: (value, end) => value.startsWith(end),
  suffix: (value, end) => value.endsWith(end),
}
const OPERATORS: readonly string[] = [...Object.keys(RANGES), ...Object.keys(ENDS), 'not', 'exists']
const LOGIC: readonly string[] = ['$and', '$or', '$not']
const ATTRIBUTES: Readonly<Record<string, (message: EncodedMessage) => string | undefined>> = {
  $type: ({ type }) => type,
  $key: ({ key }) => key,
  $subject: ({ subject }) => subject,
}

/**
 * Compiles the option `where`, and reports what is wrong with it to `reader`. What is given may change afterwards without
 * effect. Applying the filter never throws for decoded data.
 */
export function compileWhere(reader: OptionsReader, option: string, where: unknown): MessageFilter {
  const clauses = new WhereCompiler(reader).message(where, option, 0)
  const attributes = clauses.filter(({ needsData }) => !needsData)
  const data = clauses.filter(({ needsData }) => needsData)
  return {
    ofAttributes: attributes.length === 0 ? undefined : (message) => holdAll(attributes, MISSING, message),
    ofData: data.length === 0 ? undefined : (value, message) => holdAll(data, value, message),
  }
}

function holdAll(clauses: readonly Clause[], data: unknown, message: EncodedMessage): boolean {
  for (const { test } of clauses) if (!test(data, message)) return false
  return true
}

/** Each method returns what stands for a part of the filter; where that is wrong, it reports it and returns anything. */
class WhereCompiler {
  readonly #reader: OptionsReader

  constructor(reader: OptionsReader) {
    this.#reader = reader
  }

  /** Conditions that must all hold, those on attributes apart from those on data. */
  message(where: unknown, path: string, depth: number): readonly Clause[] {
    const clauses: Clause[] = []
    for (const [name, condition] of this.#entries(where, path, depth)) {
      const at = `${path}.${name}`
      if (LOGIC.includes(name)) clauses.push(...this.#logicOfMessage(name, condition, at, depth + 1))
      else if (name === '$headers') clauses.push(this.#headers(condition, at, depth + 1))
      else if (Object.hasOwn(ATTRIBUTES, name)) {
        const read = ATTRIBUTES[name] as (message: EncodedMessage) => string | undefined
        const test = this.#condition(condition, at, depth + 1)
        clauses.push({ needsData: false, test: (_data, message) => test(read(message)) })
      } else {
        clauses.push({ needsData: true, test: this.#field(name, condition, at, depth) })
      }
    }
    return clauses
  }

  #logicOfMessage(name: string, operand: unknown, path: string, depth: number): readonly Clause[] {
    if (name === '$and') return this.#list(operand, path, (each, at) => this.message(each, at, depth)).flat()
    const alternatives =
      name === '$or'
        ? this.#list(operand, path, (each, at) => this.message(each, at, depth))
        : [this.message(operand, path, depth)]
    const needsData = alternatives.flat().some((clause) => clause.needsData)
    const any = (data: unknown, message: EncodedMessage): boolean =>
      alternatives.some((clauses) => holdAll(clauses, data, message))
    return [{ needsData, test: name === '$or' ? any : (data, message) => !any(data, message) }]
  }

  #headers(where: unknown, path: string, depth: number): Clause {
    const tests = this.#entries(where, path, depth).map(
      ([name, condition]) => [name, this.#condition(condition, `${path}.${name}`, depth + 1)] as const,
    )
    const test = (_data: unknown, { headers }: EncodedMessage): boolean =>
      tests.every(([name, matches]) => matches(own(headers, name)))
    return { needsData: false, test }
  }

  /** Conditions on the fields of an object. */
  #fields(entries: Entries, path: string, depth: number): Test {
    const tests = entries.map(([name, condition]) => {
      const at = `${path}.${name}`
      return LOGIC.includes(name)
        ? this.#logic(name, condition, at, depth + 1)
        : this.#field(name, condition, at, depth)
    })
    return (value) => tests.every((test) => test(value))
  }

  #logic(name: string, operand: unknown, path: string, depth: number): Test {
    if (name === '$not') {
      const test = this.#fields(this.#entries(operand, path, depth), path, depth)
      return (value) => !test(value)
    }
    const tests = this.#list(operand, path, (each, at) => this.#fields(this.#entries(each, at, depth), at, depth))
    return name === '$and' ? (value) => tests.every((test) => test(value)) : anyOf(tests)
  }

  #field(name: string, condition: unknown, path: string, depth: number): Test {
    if (name.startsWith('$'))
      this.#reader.problem(
        path,
        `is not known: there are $and, $or and $not, and at the top of a filter $type, $key, $subject and $headers`,
      )
    const test = this.#condition(condition, path, depth + 1)
    return (value) => test(own(value, name))
  }

  /** A value, several of which one must match, operators, or conditions on nested fields. */
  #condition(condition: unknown, path: string, depth: number): Test {
    if (Array.isArray(condition)) return anyOf(this.#list(condition, path, (each, at) => this.#match(each, at, depth)))
    return this.#match(condition, path, depth)
  }

  #match(match: unknown, path: string, depth: number): Test {
    if (isScalar(match)) return ofElements((value) => value === match)
    const entries = this.#entries(match, path, depth)
    const operators = entries.filter(([name]) => OPERATORS.includes(name))
    if (operators.length === 0) return ofElements(this.#fields(entries, path, depth))
    if (operators.length < entries.length)
      this.#reader.problem(
        path,
        `mixes operators (${operators.map(([name]) => name).join(', ')}) with fields: write { $and: [{ field: … }] } for the fields`,
      )
    return this.#operators(operators, path)
  }

  #operators(operators: Entries, path: string): Test {
    const exists = operators.find(([name]) => name === 'exists')?.[1]
    if (exists !== undefined && typeof exists !== 'boolean')
      this.#reader.problem(`${path}.exists`, `must be true or false, got ${describe(exists)}`)
    if (exists === false && operators.length > 1)
      this.#reader.problem(path, 'asks for a missing value that fulfils other conditions: none does')
    if (exists === false) return (value) => value === MISSING
    const tests = operators
      .filter(([name]) => name !== 'exists')
      .map(([name, operand]) => this.#operator(name, operand, `${path}.${name}`))
    if (tests.length === 0) return (value) => value !== MISSING
    const all = ofElements((value) => tests.every((test) => test(value)))
    return (value) => value !== MISSING && all(value)
  }

  #operator(name: string, operand: unknown, path: string): Test {
    if (name === 'not') {
      const refused = Array.isArray(operand) ? operand : [operand]
      if (refused.length === 0 || !refused.every(isScalar))
        this.#reader.problem(
          path,
          `must be a string, number, boolean or null, or a list of them, got ${describe(operand)}`,
        )
      const values = new Set<unknown>(refused)
      return (value) => !values.has(value)
    }
    const ends = own(ENDS, name) as ((value: string, end: string) => boolean) | undefined
    if (ends !== undefined) {
      if (typeof operand !== 'string') this.#reader.problem(path, `must be a string, got ${describe(operand)}`)
      return (value) => typeof value === 'string' && ends(value, operand as string)
    }
    const range = RANGES[name] as (value: string | number, bound: string | number) => boolean
    if (typeof operand !== 'string' && !isNumber(operand))
      this.#reader.problem(path, `must be a number or a string, got ${describe(operand)}`)
    const bound = operand as string | number
    return (value) => typeof value === typeof bound && range(value as string | number, bound)
  }

  /** The conditions of an object that are given; undefined ones count as left out. */
  #entries(where: unknown, path: string, depth: number): Entries {
    if (depth > MAX_DEPTH) {
      this.#reader.problem(path, `is nested more than ${MAX_DEPTH} levels deep`)
      return []
    }
    if (typeof where !== 'object' || where === null || Array.isArray(where) || !isPlain(where)) {
      this.#reader.problem(path, `must be an object of conditions, got ${describe(where)}`)
      return []
    }
    const entries = Object.entries(where).filter(([, condition]) => condition !== undefined)
    if (entries.length === 0) this.#reader.problem(path, 'has no conditions: it would match everything')
    return entries
  }

  #list<Part>(list: unknown, path: string, compile: (each: unknown, at: string) => Part): readonly Part[] {
    if (!Array.isArray(list) || list.length === 0) {
      this.#reader.problem(path, `must be a list with at least one element, got ${describe(list)}`)
      return []
    }
    return list.map((each, index) => compile(each, `${path}.${index}`))
  }
}

function anyOf(tests: readonly Test[]): Test {
  return (value) => tests.some((test) => test(value))
}

/** An array matches when one of its elements does. */
function ofElements(test: Test): Test {
  return (value) => (Array.isArray(value) ? value.some((element) => test(element)) : test(value))
}

/** A field of the value itself: data must not match by what every object inherits. */
function own(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && Object.hasOwn(value, name)
    ? (value as Record<string, unknown>)[name]
    : MISSING
}

function isScalar(value: unknown): value is string | number | boolean | null {
  return value === null || typeof value === 'string' || typeof value === 'boolean' || isNumber(value)
}

/** NaN and the infinities are not JSON, and NaN would match nothing. */
function isNumber(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value)
}

/** A Date, a Map or a RegExp has no fields to compare, so it would match everything. */
function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null
}
