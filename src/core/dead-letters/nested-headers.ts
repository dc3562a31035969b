import { OWN_PREFIX } from '../headers.ts'
import type { Headers } from '../message.ts'
import { OWN_HEADER_BYTES } from '../publish/size-limit.ts'

export type MutableHeaders = Record<string, string>

/** Prefix of Busbar headers that the message had when it was dead-lettered. A redrive restores them. */
export const NESTED_PREFIX = 'busbar-nested-'

/**
 * Copies the headers of a message to its dead letter. Renames Busbar's headers, since the dead letter has its own; leaves out
 * `except`.
 */
export function nestOwnHeaders(from: Headers, to: MutableHeaders, except: string): void {
  for (const name in from) {
    const value = from[name] as string
    if (!name.startsWith(OWN_PREFIX)) to[name] = value
    else if (name !== except) to[NESTED_PREFIX + name] = value
  }
}

/**
 * Dead letters can be dead-lettered again. Each level adds headers, and together they must stay within OWN_HEADER_BYTES.
 * Removes the least useful first: stacks, then causes, then all headers of the innermost level.
 */
export function trimNested(headers: MutableHeaders, slim: boolean): void {
  const nested = Object.keys(headers).filter((name) => name.startsWith(NESTED_PREFIX))
  if (nested.length === 0) return
  if (slim) for (const name of nested) if (rank(name) >= STACK_RANK) delete headers[name]
  let bytes = 0
  for (const name in headers)
    if (name.startsWith(OWN_PREFIX)) bytes += name.length + Buffer.byteLength(headers[name] as string)
  if (bytes <= OWN_HEADER_BYTES) return
  for (const name of nested.sort((a, b) => rank(b) - rank(a))) {
    const value = headers[name]
    if (value === undefined) continue
    delete headers[name]
    bytes -= name.length + Buffer.byteLength(value)
    if (bytes <= OWN_HEADER_BYTES) return
  }
}

const CAUSE_RANK = 1_000
const STACK_RANK = 2_000

/** The most dispensable header has the highest value. */
function rank(name: string): number {
  const depth = name.split(NESTED_PREFIX).length
  if (name.endsWith('-dlq-stack')) return STACK_RANK + depth
  return name.endsWith('-dlq-cause') ? CAUSE_RANK + depth : depth
}
