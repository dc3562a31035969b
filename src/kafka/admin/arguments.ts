import { InvalidOptionsError } from '../errors.ts'
import type { OptionProblem } from '../errors.ts'
import { kindOf, listed, OptionsReader, shown } from '../options-reader.ts'
import type { Renamed } from '../options-reader.ts'

/** The largest id of a partition or broker, and the largest epoch of a leader: 32 bits. */
const MAX_INT32 = 2 ** 31 - 1

/** Notes in `problems` what a value is that it can't be, and what to give instead. `path` is its name, with those it is in. */
export type Check = (value: unknown, path: string, problems: OptionProblem[]) => void

/**
 * Checks all arguments of an admin call before anything is sent. Throws one {@link InvalidOptionsError} with everything that is wrong. Why
 * each call does so: the brokers take many mistakes for something else, `-2` for "earliest" or a missing field for its default.
 */
export function checkArguments(
  call: string,
  given: Readonly<Record<string, readonly [value: unknown, check: Check]>>,
): void {
  const problems: OptionProblem[] = []
  for (const [name, [value, check]] of Object.entries(given)) check(value, name, problems)
  if (problems.length > 0) throw new InvalidOptionsError(call, problems)
}

export function optional(check: Check): Check {
  return (value, path, problems) => {
    if (value !== undefined) check(value, path, problems)
  }
}

export function orNull(check: Check): Check {
  return (value, path, problems) => {
    if (value !== null) check(value, path, problems)
  }
}

/** Text with at least one character. */
export function text(what: string): Check {
  return accept((value) => typeof value === 'string' && value !== '', what)
}

/** Text that messages must not show. */
export function secret(what: string): Check {
  return accept((value) => typeof value === 'string' && value !== '', what, kindOf)
}

/** Text that may be empty. */
export function anyText(what: string): Check {
  return accept((value) => typeof value === 'string', what)
}

export function oneOf(words: readonly string[]): Check {
  return accept((value) => words.includes(value as string), listed(words))
}

export const trueOrFalse: Check = accept((value) => typeof value === 'boolean', 'true or false')

export const finite: Check = accept((value) => Number.isFinite(value), 'a number')

/** A whole number; `what` says of what. */
export function whole(min: number, max: number = Number.MAX_SAFE_INTEGER, what = ''): Check {
  const range = max === Number.MAX_SAFE_INTEGER ? `of ${min} or more` : `from ${min} to ${max}`
  const fits = (value: number): boolean => value >= min && value <= max
  return accept(
    (value) => Number.isSafeInteger(value) && fits(value as number),
    `a whole number ${range}${what === '' ? '' : `, ${what}`}`,
  )
}

export const bigint: Check = accept((value) => typeof value === 'bigint' && value >= 0n, 'a bigint of 0 or more')

export function list(check: Check, what: string): Check {
  return (value, path, problems) => {
    if (!Array.isArray(value)) return note(value, path, `an array of ${what}`, problems)
    for (const [index, item] of value.entries()) check(item, `${path}[${index}]`, problems)
  }
}

/** An object that has these fields. Others are ignored: all of these are needed, so a misspelt one is noticed as missing. */
export function having(fields: Readonly<Record<string, Check>>): Check {
  const what = `an object with ${Object.keys(fields).join(', ')}`
  return (value, path, problems) => {
    if (!isPlain(value)) return note(value, path, what, problems)
    for (const [name, check] of Object.entries(fields)) check(value[name], `${path}.${name}`, problems)
  }
}

/** An object that has no fields but these. */
export function only(fields: Readonly<Record<string, Check>>, renamed: Renamed = {}): Check {
  const names = Object.keys(fields)
  return (value, path, problems) => {
    if (!isPlain(value)) return note(value, path, `an object with ${names.join(', ')}`, problems)
    const reader = new OptionsReader(path, value, { names, renamed }, { path, problems })
    for (const [name, check] of Object.entries(fields)) check(reader.raw(name), `${path}.${name}`, problems)
  }
}

/** An object with names of the caller's own. */
export function byName(check: Check, example: string): Check {
  return (value, path, problems) => {
    if (!isPlain(value)) return note(value, path, `an object, ${example} for example`, problems)
    for (const [name, each] of Object.entries(value)) check(each, `${path}['${name}']`, problems)
  }
}

export const topicName: Check = text('the name of a topic')
export const topicNames: Check = list(topicName, 'names of topics')
export const groupName: Check = text('the name of a group')
export const partitionIndex: Check = whole(0, MAX_INT32, 'the number of a partition')
export const brokerIds: Check = list(whole(0, MAX_INT32, 'the id of a broker'), 'ids of brokers')
export const leaderEpoch: Check = whole(-1, MAX_INT32)
/** Items such as those that `admin.offsets.list` resolves with are fine, too. */
export const topicPartitions: Check = list(
  having({ topic: topicName, partition: partitionIndex }),
  '{ topic, partition }',
)

function accept(accepts: (value: unknown) => boolean, what: string, show: (value: unknown) => string = shown): Check {
  return (value, path, problems) => {
    if (!accepts(value)) note(value, path, what, problems, show)
  }
}

function note(value: unknown, path: string, what: string, problems: OptionProblem[], show = shown): void {
  problems.push({ option: path, problem: `is ${show(value)}: give ${what}` })
}

/** An object whose fields are what it is; those of a Map or a Date are not. */
export function isPlain(value: unknown): value is Readonly<Record<string, unknown>> {
  return Object.prototype.toString.call(value) === '[object Object]'
}
