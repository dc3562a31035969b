import { types } from 'node:util'
import { jsonCodec } from '../codec.ts'
import type { AsyncCodec, Codec } from '../codec.ts'
import type { AnyEventDefinition } from '../define.ts'
import { ValidationError } from '../errors.ts'
import { validate } from '../util/validate.ts'

/** When to check that data survives its codec: for the first message of each event, for every message, or never. */
export type WireCheckMode = 'first' | 'always' | 'off'

/** Enough for any service. Bounded, because a program that keeps inventing topic names must not fill the memory. */
const MAX_PASSED = 10_000
/** Maximum number of values checked per message, to keep publishing fast. */
const MAX_VALUES = 10_000

/**
 * Finds data that its codec can't carry at publish, where the caller still gets the error. JSON turns a Date into a string and
 * a Map into `{}`, so data that is valid here would be dead-lettered by every consumer. For development; an event that has
 * passed is not checked again unless the mode is `always`.
 */
export class WireCheck {
  readonly #mode: WireCheckMode
  readonly #passed = new Set<string | AnyEventDefinition>()
  /** The last one that passed: most messages have the target of the one before. */
  #lastPassed: string | AnyEventDefinition | undefined

  constructor(mode: WireCheckMode) {
    this.#mode = mode
  }

  /** True when a message of this topic or event must be checked. */
  isDue(target: string | AnyEventDefinition): boolean {
    if (this.#mode === 'off') return false
    return this.#mode === 'always' || (target !== this.#lastPassed && !this.#passed.has(target))
  }

  /** Throws, or rejects with, a `ValidationError`. `body` is what `codec` made of `data`. */
  check(
    target: string | AnyEventDefinition,
    codec: Codec | AsyncCodec,
    data: unknown,
    body: Uint8Array,
  ): void | Promise<void> {
    const schema = typeof target === 'string' ? undefined : target.schema
    const topic = typeof target === 'string' ? target : target.topic
    const fits = (): void => {
      if (codec === jsonCodec) refuseLosses(topic, data)
      if (this.#passed.size >= MAX_PASSED) this.#passed.clear()
      this.#passed.add(target)
      this.#lastPassed = target
    }
    if (schema === undefined) return fits()
    const refuse = (error: unknown): never => {
      throw ValidationError.is(error) ? misfit(topic, codec, data, error) : error
    }
    let again: unknown
    try {
      // A copy: the decoded data may be a view of the bytes that will be sent.
      const decoded = codec.decode(body.slice())
      again =
        decoded instanceof Promise
          ? decoded.then((value) => validate(schema, value, topic))
          : validate(schema, decoded, topic)
    } catch (error) {
      return refuse(error)
    }
    return again instanceof Promise ? again.then(fits, refuse) : fits()
  }
}

function misfit(topic: string, codec: Codec | AsyncCodec, data: unknown, { issues }: ValidationError): ValidationError {
  return new ValidationError(
    `The data for "${topic}" fits its schema, but a consumer reads it as ${codec.contentType}, and that does not fit`,
    issues.map(({ path, message }) => ({ path, message: `${message} (${remedyFor(valueAt(data, path))})` })),
  )
}

function valueAt(data: unknown, path: string): unknown {
  let value = data
  for (const segment of path === '' ? [] : path.split('.')) {
    if (typeof value !== 'object' || value === null) return undefined
    value = (value as Record<string, unknown>)[segment]
  }
  return value
}

function remedyFor(value: unknown): string {
  if (value instanceof Date)
    return 'a Date becomes a string: use z.coerce.date(), or z.iso.datetime() and publish the string'
  if (value instanceof Map || value instanceof Set)
    return `a ${value instanceof Map ? 'Map' : 'Set'} becomes {}: publish an object or an array, and convert it in the handler`
  return 'describe what is on the wire in the schema, or give the event a codec that carries the value'
}

function refuseLosses(topic: string, data: unknown): void {
  const found = findLoss(data)
  if (found === undefined) return
  throw new ValidationError(`The data for "${topic}" would not arrive as it is`, [
    { path: found.path, message: found.what },
  ])
}

interface Loss {
  readonly path: string
  readonly what: string
}

/** The first value that JSON loses or changes. */
function findLoss(data: unknown): Loss | undefined {
  const open: { readonly path: string; readonly value: unknown; readonly inArray: boolean }[] = [
    { path: '', value: data, inArray: false },
  ]
  let seen = 0
  for (let next = open.pop(); next !== undefined && seen < MAX_VALUES; next = open.pop(), seen++) {
    const { path, value, inArray } = next
    const what = lossOf(value, inArray)
    if (what !== undefined) return { path, what }
    if (typeof value !== 'object' || value === null) continue
    // `toJSON` defines what is sent.
    if (typeof (value as { toJSON?: unknown }).toJSON === 'function') continue
    const prefix = path === '' ? '' : `${path}.`
    let room = MAX_VALUES - seen - open.length
    // Not `Object.keys`: for an array of a million numbers it would create a million strings.
    if (Array.isArray(value))
      for (let at = 0; at < value.length && room > 0; at++, room--)
        open.push({ path: `${prefix}${at}`, value: value[at] as unknown, inArray: true })
    else
      for (const name of Object.keys(value).slice(0, Math.max(0, room)))
        open.push({ path: `${prefix}${name}`, value: (value as Record<string, unknown>)[name], inArray: false })
  }
  return undefined
}

const CONVERT = 'convert it before you publish, or give the event a codec'

/** What JSON makes of this value itself, and what to do; undefined when it keeps it. */
function lossOf(value: unknown, inArray: boolean): string | undefined {
  switch (typeof value) {
    case 'number':
      return Number.isFinite(value) ? undefined : `${value} becomes null in JSON; ${CONVERT}`
    case 'undefined':
      // A property that is undefined is left out, as is an optional one.
      return inArray ? 'undefined becomes null in a JSON array; publish null, or leave it out' : undefined
    case 'function':
    case 'symbol':
      return `a ${typeof value} ${inArray ? 'becomes null in a JSON array' : 'is left out of JSON'}; ${CONVERT}`
    case 'object':
      return value === null ? undefined : lossOfObject(value)
    default:
      return undefined
  }
}

function lossOfObject(value: object): string | undefined {
  const prototype: unknown = Object.getPrototypeOf(value)
  if (Array.isArray(value) || prototype === Object.prototype || prototype === null) return undefined
  if (types.isBoxedPrimitive(value)) return undefined
  if (value instanceof Promise) return 'a Promise becomes {} in JSON: await it'
  if (Buffer.isBuffer(value)) return `a Buffer becomes { type, data } in JSON; ${CONVERT}`
  if ('toJSON' in value && typeof value.toJSON === 'function') return undefined
  const name = value.constructor.name === '' ? 'object' : value.constructor.name
  const what = `${/^[AEIO]/i.test(name) ? 'an' : 'a'} ${name}`
  if (value instanceof Error) return `${what} loses its message in JSON; ${CONVERT}`
  if (ArrayBuffer.isView(value)) return `${what} becomes an object of numbers in JSON; ${CONVERT}`
  return Object.keys(value).length === 0 ? `${what} becomes {} in JSON; ${CONVERT}` : undefined
}
