/** A parameter of a URL as the value of an option: `true` and `false` are booleans, digits are a number, anything else is text. */
export function urlParameter(text: string): string | number | boolean {
  if (text === 'true' || text === 'false') return text === 'true'
  return /^\d{1,15}$/.test(text) ? Number(text) : text
}

/** What is wrong with a "%" in a URL, for the message of a problem. */
export const BAD_PERCENT = 'that starts no %XX: write a plain percent sign as %25'
