/**
 * Converts a URL parameter to the value of an option: `true` and `false` to booleans, digits to a number, anything else stays
 * text.
 */
export function urlParameter(text: string): string | number | boolean {
  if (text === 'true' || text === 'false') return text === 'true'
  return /^\d{1,15}$/.test(text) ? Number(text) : text
}

/** What to add to the error of a URL that can't be read: its password may be the reason. */
export function passwordAdvice(url: string): string {
  return url.includes('@')
    ? '; percent-encode special characters in its user and password: "@" as %40, ":" as %3A, "/" as %2F, "?" as %3F, "#" as %23'
    : ''
}

/** Explains an invalid "%" in a URL, in an error message. */
export const BAD_PERCENT = 'that starts no %XX: write a plain percent sign as %25'
