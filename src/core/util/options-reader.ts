import { ConfigurationError } from '../errors.ts'
import type { Problem } from '../errors.ts'
import { FROM_URL } from './url-parameter.ts'
import type { UrlOptions } from './url-parameter.ts'

/**
 * Reads a user's options object. Each getter checks one field, falls back to its default and records problems. `done()` then
 * refuses unknown keys and throws one `ConfigurationError` with all problems. Never changes the object.
 */
export class OptionsReader {
  readonly #subject: string
  readonly #path: string
  readonly #input: UrlOptions
  readonly #known = new Set<string>()
  readonly #problems: Problem[]

  /** `example` is what to write instead of something that is not an object. */
  constructor(
    subject: string,
    input: unknown,
    example?: string,
    parent: { readonly path: string; readonly problems: Problem[] } = { path: '', problems: [] },
  ) {
    this.#subject = subject
    this.#path = parent.path
    this.#problems = parent.problems
    this.#input = isPlainObject(input) ? input : {}
    if (input === undefined || isPlainObject(input)) return
    const advice = example === undefined ? '' : `; ${typeof input === 'function' ? 'call it:' : 'write'} ${example}`
    this.problem(parent.path === '' ? 'options' : '', `must be an object, got ${describe(input)}${advice}`)
  }

  /** Records a problem that the caller found. */
  problem(field: string, message: string): void {
    this.#problems.push({ path: this.#at(field), message })
  }

  /** The unchecked value; the caller checks it. */
  raw(field: string): unknown {
    this.#known.add(field)
    return this.#input[field]
  }

  /** Refuses an option name known from other libraries, and says what to write instead. */
  misnamed(field: string, remedy: string): void {
    if (!Object.hasOwn(this.#input, field)) return
    this.#known.add(field)
    this.problem(field, `is not a known option; write ${remedy}`)
  }

  /** Refuses options that another call takes, and says which. */
  misplaced(fields: readonly string[], owner: string): void {
    for (const field of fields) {
      if (this.#known.has(field) || !Object.hasOwn(this.#input, field)) continue
      this.#known.add(field)
      this.problem(field, `belongs to ${owner}`)
    }
  }

  /** True when the field is given. */
  has(field: string): boolean {
    return this.raw(field) !== undefined
  }

  /** A whole number in a range. */
  integer<Default extends number | undefined>(
    field: string,
    fallback: Default,
    range: { min?: number; max?: number } = {},
  ): number | Default {
    const value = this.raw(field)
    if (value === undefined) return fallback
    const { min = 0, max = Number.MAX_SAFE_INTEGER } = range
    if (typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max) return value
    const upper = max === Number.MAX_SAFE_INTEGER ? '' : ` and <= ${max}`
    this.problem(field, `must be a whole number >= ${min}${upper}, got ${this.#shown(field)}`)
    return fallback
  }

  /** Any finite number in a range. */
  number<Default extends number | undefined>(
    field: string,
    fallback: Default,
    range: { min?: number; max?: number } = {},
  ): number | Default {
    const value = this.raw(field)
    if (value === undefined) return fallback
    const { min = -Infinity, max = Infinity } = range
    if (typeof value === 'number' && Number.isFinite(value) && value >= min && value <= max) return value
    this.problem(field, `must be a number from ${min} to ${max}, got ${this.#shown(field)}`)
    return fallback
  }

  /** `true` or `false`. */
  boolean(field: string, fallback: boolean): boolean {
    const value = this.raw(field)
    if (value === undefined) return fallback
    if (typeof value === 'boolean') return value
    this.problem(field, `must be true or false, got ${this.#shown(field)}`)
    return fallback
  }

  /** A string that is not empty. */
  string<Default extends string | undefined>(field: string, fallback: Default): string | Default {
    const value = this.raw(field)
    if (value === undefined) return fallback
    if (typeof value === 'string' && value !== '') return value
    this.problem(field, `must be a string that is not empty, got ${describe(value)}`)
    return fallback
  }

  /** A string that is not empty and has no default. Returns an empty string when it is missing. */
  requiredString(field: string): string {
    const value = this.string(field, undefined)
    if (value === undefined && this.#input[field] === undefined)
      this.problem(field, 'is required: a string that is not empty')
    return value ?? ''
  }

  /** One of a few words. */
  oneOf<const Choice extends string>(field: string, choices: readonly Choice[], fallback: Choice): Choice {
    const value = this.raw(field)
    if (value === undefined) return fallback
    const found = choices.find((choice) => choice === value)
    if (found !== undefined) return found
    // Shown in full, unlike other values: a value that should be one of a few words is not a secret.
    const shown = typeof value === 'string' ? quote(value) : describe(value)
    this.problem(field, `must be one of ${choices.map((choice) => `"${choice}"`).join(', ')}, got ${shown}`)
    return fallback
  }

  /** Text of a URL is shown: it is a number or a switch with a typing error, where code would rather pass a wrong variable. */
  #shown(field: string): string {
    const value = this.#input[field]
    return typeof value === 'string' && this.#input[FROM_URL]?.has(field) === true ? quote(value) : describe(value)
  }

  /** A function; the caller is responsible for its type. */
  callable<Type>(field: string): Type | undefined {
    const value = this.raw(field)
    if (value === undefined || typeof value === 'function') return value as Type | undefined
    this.problem(field, `must be a function, got ${describe(value)}`)
    return undefined
  }

  /** An object with these methods: a logger, a clock, a client. */
  withMethods<Type>(field: string, methods: readonly string[]): Type | undefined {
    const value = this.raw(field)
    if (value === undefined) return undefined
    const missing = methods.filter(
      (method) => typeof (value as Record<string, unknown> | null)?.[method] !== 'function',
    )
    if (missing.length === 0) return value as Type
    this.problem(
      field,
      `must be an object with ${missing.map((method) => `${method}()`).join(', ')}, got ${describe(value)}`,
    )
    return undefined
  }

  /** An array; the caller checks its items. */
  list(field: string): readonly unknown[] {
    const value = this.raw(field)
    if (value === undefined) return []
    if (Array.isArray(value)) return value as readonly unknown[]
    this.problem(field, `must be an array, got ${describe(value)}`)
    return []
  }

  /** A list of middleware. */
  functions<Item>(field: string): readonly Item[] {
    const list = this.list(field)
    for (const [index, entry] of list.entries()) {
      if (typeof entry !== 'function')
        this.problem(`${field}.${index}`, 'must be a function; did you forget to call the factory?')
    }
    return list as readonly Item[]
  }

  /** A nested options object; its problems are reported together with these. */
  nested(field: string): OptionsReader {
    return new OptionsReader(this.#subject, this.raw(field), undefined, {
      path: this.#at(field),
      problems: this.#problems,
    }).#alsoUnknown(this)
  }

  readonly #children: OptionsReader[] = []

  #alsoUnknown(parent: OptionsReader): OptionsReader {
    parent.#children.push(this)
    return this
  }

  /** Throws if there were problems. Call it once, on the outermost reader, after all getters. */
  done(): void {
    const error = this.error()
    if (error !== undefined) throw error
  }

  /** Like `done`, but returns the error. */
  error(): ConfigurationError | undefined {
    this.#refuseUnknown()
    return this.#problems.length > 0 ? new ConfigurationError(this.#subject, this.#problems) : undefined
  }

  #refuseUnknown(): void {
    for (const key of Object.keys(this.#input)) {
      if (this.#known.has(key)) continue
      this.problem(key, unknownOption(key, this.#known))
    }
    for (const child of this.#children) child.#refuseUnknown()
  }

  #at(field: string): string {
    if (this.#path === '' || field === '') return this.#path + field
    return `${this.#path}.${field}`
  }
}

/** `timeoutMs` of `start` or `close`, if given, or the error to reject with. */
export function readTimeout(subject: string, options: unknown): number | undefined | ConfigurationError {
  const reader = new OptionsReader(subject, options, `{ timeoutMs: ${typeof options === 'number' ? options : 5_000} }`)
  const timeoutMs = reader.raw('timeoutMs')
  if (timeoutMs !== undefined && !(typeof timeoutMs === 'number' && timeoutMs >= 0))
    reader.problem('timeoutMs', `must be a number of milliseconds >= 0, got ${describe(timeoutMs)}`)
  return reader.error() ?? (timeoutMs as number | undefined)
}

function isPlainObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

const MAX_SHOWN_LENGTH = 40

function quote(text: string): string {
  return JSON.stringify(text.slice(0, MAX_SHOWN_LENGTH))
}

/** The message for an unknown option. */
export function unknownOption(name: string, known: Iterable<string>): string {
  const guess = closest(name, known)
  return guess === undefined
    ? `is not a known option; there are: ${[...known].join(', ')}`
    : `is not a known option; did you mean "${guess}"?`
}

/** Describes a value without showing all of it, because it may be a secret. */
export function describe(value: unknown): string {
  if (value === undefined || value === null) return String(value)
  if (typeof value === 'number' || typeof value === 'boolean') return String(value)
  if (typeof value === 'string') return value === '' ? 'an empty string' : 'a string'
  if (Array.isArray(value)) return 'an array'
  if (value instanceof Promise) return 'a Promise: await it'
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`
}

/** The candidate closest to the word, if one is close enough. */
export function closest(word: string, candidates: Iterable<string>): string | undefined {
  let best: string | undefined
  // Two of three letters may differ in any two words.
  let bestDistance = Math.max(word.length > 3 ? 2 : 1, Math.floor(word.length / 3)) + 1
  for (const candidate of candidates) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase())
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance]
  }
  return best
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const substitution = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, substitution))
    }
    row = next
  }
  return row[b.length] ?? 0
}
