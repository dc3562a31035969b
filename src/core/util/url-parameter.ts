/**
 * Converts a URL parameter to the value of an option: `true` and `false` to booleans, digits to a number, anything else stays
 * text.
 */
export function urlParameter(text: string): string | number | boolean {
  if (text === 'true' || text === 'false') return text === 'true'
  return /^\d{1,15}$/.test(text) ? Number(text) : text
}

/** Key of the names of options that were read from a URL. A symbol, so that copies of the options keep it without it counting as an option. */
export const FROM_URL: unique symbol = Symbol('from a URL')

/** Options that may have come from a URL. */
export interface UrlOptions {
  [name: string]: unknown
  [FROM_URL]?: ReadonlySet<string>
}

/**
 * Sets an option from a parameter of a URL, unless it was given beside the URL. `groups` are options that are objects, whose
 * fields follow after a dot: `reconnect.maxMs`.
 */
export function setParameter(
  options: UrlOptions,
  name: string,
  value: unknown,
  groups: ReadonlySet<string> = new Set(),
): void {
  const dot = name.indexOf('.')
  const group = name.slice(0, Math.max(0, dot))
  if (groups.has(group)) {
    const given = options[group]
    // Not an object: the reader of the options says so.
    if (given !== undefined && (typeof given !== 'object' || given === null)) return
    const inner: UrlOptions = { ...given }
    setParameter(inner, name.slice(dot + 1), value)
    options[group] = inner
    return
  }
  if (options[name] !== undefined && options[name] !== null) return
  options[name] = value
  options[FROM_URL] = new Set([...(options[FROM_URL] ?? []), name])
}

/** What to add to the error of a URL that can't be read: its password may be the reason. */
export function passwordAdvice(url: string): string {
  return url.includes('@')
    ? '; percent-encode special characters in its user and password: "@" as %40, ":" as %3A, "/" as %2F, "?" as %3F, "#" as %23'
    : ''
}

/** Explains an invalid "%" in a URL, in an error message. */
export const BAD_PERCENT = 'that starts no %XX: write a plain percent sign as %25'
