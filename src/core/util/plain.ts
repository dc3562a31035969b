const MAX_STRING_LENGTH = 1_000
/** Not even looked at: a pattern must not take long for a huge string. */
const MAX_READ_LENGTH = 10_000
const MASK = '***'
/** User and password of a URL: everything up to the last @ of its authority. */
const USER_INFO = /:\/\/[^\s/?#]*@/g
const SECRET_PARAMETER = /([?&][\w-]*(?:password|passwd|secret|token)[\w-]*=)[^\s&#]*/gi
const SECRET_NAME = /^pass$|password|passwd|passphrase|secret|token|credential|authorization|api_?key/i

/**
 * A copy of a value as JSON keeps it: plain objects, arrays, strings, numbers, booleans and null. Cuts long strings, writes a
 * bigint as a string, and masks what looks like a secret: user and password of a URL, and text under a name such as
 * `password`. Throws when the copy would have more than `maxLength` characters as JSON, or the value can't be JSON.
 */
export function plain<Value>(value: Value, maxLength: number = Infinity): Value {
  let left = maxLength
  const text = JSON.stringify(value, (key, member: unknown) => {
    const kept = keep(key, member)
    left -= key.length + (typeof kept === 'string' ? kept.length : 4)
    if (left < 0) throw new RangeError(`it has more than ${maxLength} characters as JSON`)
    return kept
  })
  return (text === undefined ? undefined : JSON.parse(text)) as Value
}

function keep(name: string, value: unknown): unknown {
  if (typeof value === 'bigint') return String(value)
  if ((typeof value === 'string' || Array.isArray(value)) && SECRET_NAME.test(name)) return MASK
  if (typeof value === 'string') return masked(value)
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value
  // Names may be URLs too.
  if (!Object.keys(value).some((key) => key.includes('://'))) return value
  return Object.fromEntries(Object.entries(value).map(([key, member]) => [masked(key), member]))
}

function masked(text: string): string {
  const safe = text.slice(0, MAX_READ_LENGTH).replace(USER_INFO, `://${MASK}@`).replace(SECRET_PARAMETER, `$1${MASK}`)
  return safe.length > MAX_STRING_LENGTH ? `${safe.slice(0, MAX_STRING_LENGTH)}...` : safe
}
