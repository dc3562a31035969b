/** A variable for a field inside of `prefix`. */
export function nameOf(prefix: string, name: string): string {
  return prefix === '' ? name : `${prefix}${name.slice(0, 1).toUpperCase()}${name.slice(1)}`
}

/** A default value as source. */
export function literal(value: unknown): string {
  if (typeof value === 'bigint') return `${value}n`
  if (value === null || typeof value !== 'object') return value === null ? 'null' : quoted(value)
  if (Array.isArray(value)) return '[]'
  if (value instanceof Uint8Array) return 'Buffer.alloc(0)'
  return `{ ${Object.entries(value)
    .map(([name, inner]) => `${name}: ${literal(inner)}`)
    .join(', ')} }`
}

function quoted(value: unknown): string {
  return typeof value === 'string' ? `'${value}'` : String(value)
}
