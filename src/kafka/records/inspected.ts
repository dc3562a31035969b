import { isUtf8 } from 'node:buffer'
import { inspect } from 'node:util'
import type { InspectOptions } from 'node:util'

/** Has `console.log` show what `toJSON` returns, for objects whose values are not properties of their own. */
export function showJson(name: string, prototype: { toJSON(): object }): void {
  function show(this: { toJSON(): object }, depth: number, options: InspectOptions): string {
    return depth < 0 ? `[${name}]` : `${name} ${inspect(this.toJSON(), { ...options, depth })}`
  }
  Object.defineProperty(prototype, inspect.custom, { value: show })
}

/** Bytes in a log: as text if they are UTF-8. */
export function readable(bytes: Buffer | null): string | null {
  if (bytes === null) return null
  return isUtf8(bytes) ? bytes.toString() : `base64:${bytes.toString('base64')}`
}
