// Has its own search for the closest name, as core/util has: the Kafka client is a library of its own, and imports nothing of Busbar's.
import { InvalidOptionsError } from './errors.ts'
import type { OptionProblem } from './errors.ts'

/** The longest that a timer of Node, and most times of the protocol, can be. */
export const MAX_MS: number = 2 ** 31 - 1

/** For numbers: the smallest, the largest, and the default. The unit is in the name of the option. */
export type NumberRange = readonly [min: number, max: number, byDefault: number]

export type NumberRanges = Readonly<Record<string, NumberRange>>

/** What the options are called elsewhere, and what to write here. */
export type Renamed = Readonly<Record<string, string>>

export interface KnownNames {
  readonly names: readonly string[]
  /** The numbers among the options, for {@link OptionsReader.numbers}. */
  readonly numbers?: NumberRanges
  readonly renamed?: Renamed
}

/**
 * Checks the options of a caller: each getter returns the value, or its default, and notes what is wrong. `done` throws one error with
 * all problems. A value of undefined is the same as no value. Values are shown in messages, but never those that may be secret.
 */
export class OptionsReader {
  readonly #subject: string
  readonly #path: string
  readonly #values: Readonly<Record<string, unknown>>
  readonly #problems: OptionProblem[]

  /** Notes every name that is not known. */
  constructor(
    subject: string,
    options: unknown,
    known: KnownNames,
    parent?: { readonly path: string; readonly problems: OptionProblem[] },
  ) {
    this.#subject = subject
    this.#path = parent?.path ?? ''
    this.#problems = parent?.problems ?? []
    this.#values = isObject(options) ? options : {}
    if (!isObject(options)) {
      this.#problems.push({ option: parent?.path ?? 'options', problem: `is ${kindOf(options)}: give an object` })
    }
    const names = [...known.names, ...Object.keys(known.numbers ?? {})]
    for (const [name, value] of Object.entries(this.#values)) {
      if (value !== undefined && !names.includes(name)) this.problem(name, whatInstead(name, names, known.renamed))
    }
  }

  problem(name: string, problem: string): void {
    const option = this.#path === '' ? name : `${this.#path}.${name}`
    this.#problems.push({ option, problem })
  }

  /** Whatever was given. */
  raw(name: string): unknown {
    return this.#values[name]
  }

  has(name: string): boolean {
    return this.#values[name] !== undefined
  }

  /** A whole number. */
  number(name: string, [min, max, byDefault]: NumberRange): number {
    const value = this.#values[name]
    if (value === undefined) return byDefault
    if (typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max) return value
    const unit = name.endsWith('Ms') ? ' of milliseconds' : name.endsWith('Bytes') ? ' of bytes' : ''
    const range = max === Number.MAX_SAFE_INTEGER ? `of ${min} or more` : `from ${min} to ${max}`
    this.problem(name, `is ${shown(value)}: give a whole number${unit} ${range}, or leave it out for ${byDefault}`)
    return byDefault
  }

  /** All numbers of a table. */
  numbers<N extends string>(ranges: Readonly<Record<N, NumberRange>>): Record<N, number> {
    const entries = Object.entries<NumberRange>(ranges).map(([name, range]) => [name, this.number(name, range)])
    return Object.fromEntries(entries) as Record<N, number>
  }

  boolean(name: string, byDefault: boolean): boolean {
    const value = this.#values[name]
    if (value === undefined || typeof value === 'boolean') return value ?? byDefault
    this.problem(name, `is ${shown(value)}: give true or false, or leave it out for ${byDefault}`)
    return byDefault
  }

  /** `isSecret`: a value that is none of the choices is not shown. */
  oneOf<const T extends string | number>(name: string, choices: readonly T[], byDefault: T, isSecret = false): T {
    const value = this.#values[name]
    if (value === undefined) return byDefault
    const found = choices.find((choice) => choice === value)
    if (found !== undefined) return found
    const alike = choices.find(
      (choice) => typeof value === 'string' && String(choice).toLowerCase() === value.toLowerCase(),
    )
    const remedy = alike === undefined ? `give ${listed(choices)}` : `write ${quoted(alike)}`
    this.problem(name, `is ${isSecret && alike === undefined ? kindOf(value) : shown(value)}: ${remedy}`)
    return byDefault
  }

  /** Text with at least one character. `what` says what to give. */
  text(name: string, what: string): string | undefined {
    const value = this.#values[name]
    if (value === undefined || (typeof value === 'string' && value !== '')) return value
    this.problem(name, `is ${shown(value)}: give ${what}, or leave it out`)
    return undefined
  }

  callable(name: string, what: string): void {
    const value = this.#values[name]
    if (value !== undefined && typeof value !== 'function') this.problem(name, `is ${kindOf(value)}: give ${what}`)
  }

  /** The options within an option; undefined if there are none. */
  nested(name: string, known: KnownNames): OptionsReader | undefined {
    const value = this.#values[name]
    if (value === undefined) return undefined
    const path = this.#path === '' ? name : `${this.#path}.${name}`
    return new OptionsReader(this.#subject, value, known, { path, problems: this.#problems })
  }

  /** Throws if anything was wrong. */
  done(): void {
    if (this.#problems.length > 0) throw new InvalidOptionsError(this.#subject, this.#problems)
  }
}

/** What a value is, without showing it. */
export function kindOf(value: unknown): string {
  if (value === null || value === undefined) return String(value)
  if (value === '') return 'empty'
  if (Array.isArray(value)) return value.length === 0 ? 'an empty array' : 'an array'
  if (value instanceof Promise) return 'a promise, which must be awaited before'
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`
}

const MAX_SHOWN = 40

/** The value, if it is short and simple. */
export function shown(value: unknown): string {
  if (typeof value === 'number' || typeof value === 'boolean') return String(value)
  if (typeof value !== 'string' || value === '') return kindOf(value)
  return JSON.stringify(value.length > MAX_SHOWN ? `${value.slice(0, MAX_SHOWN)}…` : value)
}

export function listed(choices: readonly (string | number)[]): string {
  const [last, ...others] = choices.map(quoted).toReversed()
  return others.length === 0 ? `${last}` : `${others.toReversed().join(', ')} or ${last}`
}

function quoted(choice: string | number): string {
  return typeof choice === 'number' ? String(choice) : `'${choice}'`
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function whatInstead(name: string, names: readonly string[], renamed: Renamed = {}): string {
  const remedy = Object.hasOwn(renamed, name) ? renamed[name] : undefined
  if (remedy !== undefined) return `is not an option: ${remedy}`
  const alike = closest(name, names)
  return alike === undefined
    ? `is not an option: there are ${names.join(', ')}`
    : `is not an option: did you mean ${alike}?`
}

/** The name that is closest to a misspelt one, if one is close; one that is the same but for its unit, too. */
function closest(name: string, names: readonly string[]): string | undefined {
  const wanted = name.toLowerCase()
  let best: string | undefined
  let least = Math.max(1, Math.floor(name.length / 4)) + 1
  for (const each of names) {
    const distance = Math.min(
      distanceOf(wanted, each.toLowerCase()),
      distanceOf(wanted, each.replace(/(Ms|Bytes)$/, '').toLowerCase()),
    )
    if (distance < least) [best, least] = [each, distance]
  }
  return best
}

/** Letters to add, take out or replace. */
function distanceOf(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, index) => index)
  for (let i = 1; i <= from.length; i++) {
    const next = [i]
    for (let j = 1; j <= to.length; j++) {
      const replaced = (row[j - 1] as number) + (from[i - 1] === to[j - 1] ? 0 : 1)
      next.push(Math.min((row[j] as number) + 1, (next[j - 1] as number) + 1, replaced))
    }
    row = next
  }
  return row[to.length] as number
}
