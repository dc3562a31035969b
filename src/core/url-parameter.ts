/**
 * Converts a URL parameter to the value of an option: `true` and `false` to booleans, digits to a number, anything else stays
 * text.
 */
export function urlParameter(text: string): string | number | boolean {
  if (text === 'true' || text === 'false') return text === 'true'
  return /^\d{1,15}$/.test(text) ? Number(text) : text
}

/** Explains an invalid "%" in a URL, in an error message. */
export const BAD_PERCENT = 'that starts no %XX: write a plain percent sign as %25'
