import { inspect, types } from 'node:util'
import { describeMissing } from '../util/describe-error.ts'
import { RetryRequest } from '../consume/retry.ts'

/** An error in storable form: plain strings of bounded length. */
export interface ErrorSummary {
  readonly name: string
  readonly message: string
  /** `code` of the error: `ECONNREFUSED`, `23505`, `BUSBAR_TIMEOUT`. */
  readonly code: string | undefined
}

export interface FailureSummary extends ErrorSummary {
  readonly stack: string | undefined
  /** Its causes, nearest first: the `cause` chain, and the first `errors` of an `AggregateError`. */
  readonly causes: readonly ErrorSummary[]
}

const MAX_TEXT_CHARS = 8_192
const MAX_NAME_CHARS = 128
const MAX_CAUSES = 8
const MAX_AGGREGATED = 3
const MAX_KEYS = 100

/**
 * Summarizes what a handler threw for its dead letter: errors of another realm, plain objects, `undefined`, objects whose
 * getters throw or nest endlessly. Never throws, and uses bounded time and space.
 */
export function summarizeFailure(failure: unknown): FailureSummary {
  const error = unwrap(failure)
  const stack = isErrorLike(error) ? read(error, 'stack') : undefined
  return {
    ...summarize(error),
    stack: typeof stack === 'string' ? stack.slice(0, MAX_TEXT_CHARS) : undefined,
    causes: causesOf(error),
  }
}

/** A retry request is not a failure, but its cause is. */
function unwrap(failure: unknown): unknown {
  let error = failure
  for (let depth = 0; depth < MAX_CAUSES && isRetryRequest(error); depth++) {
    const cause = read(error, 'cause')
    if (cause === undefined || cause === null) break
    error = cause
  }
  return error
}

function isRetryRequest(value: unknown): value is object {
  try {
    return RetryRequest.is(value)
  } catch {
    return false
  }
}

function summarize(value: unknown): ErrorSummary {
  if (value === undefined || value === null) return { ...describeMissing(value), code: undefined }
  if (!isErrorLike(value)) return { name: typeof value, message: textOf(value), code: undefined }
  const name = read(value, 'name')
  const code = read(value, 'code')
  return {
    name: typeof name === 'string' && name !== '' ? name.slice(0, MAX_NAME_CHARS) : 'Error',
    message: textOf(read(value, 'message')),
    code:
      (typeof code === 'string' && code !== '') || typeof code === 'number'
        ? String(code).slice(0, MAX_NAME_CHARS)
        : undefined,
  }
}

/** Breadth first, so that a long chain behind one of several errors does not hide the others. */
function causesOf(error: unknown): readonly ErrorSummary[] {
  const causes: ErrorSummary[] = []
  const seen = new Set<unknown>([error])
  const open = directCauses(error)
  for (let at = 0; at < open.length && causes.length < MAX_CAUSES; at++) {
    const cause = open[at]
    if (typeof cause === 'object' && seen.has(cause)) continue
    seen.add(cause)
    causes.push(summarize(cause))
    open.push(...directCauses(cause))
  }
  return causes
}

function directCauses(error: unknown): unknown[] {
  if (!isErrorLike(error)) return []
  const found: unknown[] = []
  const cause = read(error, 'cause')
  if (cause !== undefined && cause !== null) found.push(cause)
  const errors = read(error, 'errors')
  if (!isArray(errors)) return found
  for (let at = 0; at < MAX_AGGREGATED; at++) {
    const each = read(errors, String(at))
    if (each !== undefined && each !== null) found.push(each)
  }
  return found
}

/** True for errors of any realm, and for what some libraries throw instead: an object with a message. */
function isErrorLike(value: unknown): value is object {
  if (typeof value !== 'object' || value === null) return false
  if (types.isNativeError(value)) return true
  try {
    return value instanceof Error || typeof (value as { readonly message?: unknown }).message === 'string'
  } catch {
    return false
  }
}

function isArray(value: unknown): value is readonly unknown[] {
  try {
    return Array.isArray(value)
  } catch {
    return false
  }
}

/** A getter that throws counts as missing. */
function read(from: object, field: string): unknown {
  try {
    return (from as Record<string, unknown>)[field]
  } catch {
    return undefined
  }
}

function textOf(value: unknown): string {
  try {
    const text = typeof value === 'object' && value !== null ? inspectBriefly(value) : String(value)
    return text.slice(0, MAX_TEXT_CHARS)
  } catch {
    return `${typeof value} without a text form`
  }
}

function inspectBriefly(value: object): string {
  // Not those of an array or of bytes: there may be millions.
  const keys = Array.isArray(value) || ArrayBuffer.isView(value) ? 0 : Object.keys(value).length
  if (keys > MAX_KEYS) return `an object with ${keys} fields`
  return inspect(value, {
    depth: 1,
    maxArrayLength: 10,
    maxStringLength: 1_024,
    breakLength: Infinity,
    // Does not run any code of the thrown object.
    customInspect: false,
  })
}
