/**
 * Encodes any text as one line of printable ASCII, at most `maxChars` long: JSON escapes, without the quotes. Cuts between
 * characters, never inside an escape.
 */
export function toHeaderText(text: string, maxChars: number): string {
  return escapeText(text.slice(0, fittingLength(text, maxChars)))
}

/** The inverse. Returns text that `toHeaderText` did not write unchanged. */
export function fromHeaderText(value: string): string {
  try {
    return JSON.parse(`"${value}"`) as string
  } catch {
    return value
  }
}

/** JSON in printable ASCII, with all other characters escaped. */
export function toAsciiJson(value: unknown): string {
  return toAscii(JSON.stringify(value))
}

function escapeText(text: string): string {
  return toAscii(JSON.stringify(text)).slice(1, -1)
}

function toAscii(json: string): string {
  return json.replace(/[^\x20-\x7e]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

/** How much of the text fits when escaped. Stops there, because a thrown string may have any length. */
function fittingLength(text: string, maxChars: number): number {
  let chars = 0
  let at = 0
  for (; at < text.length; at++) {
    chars += escapedLength(text.charCodeAt(at))
    if (chars > maxChars) break
  }
  // Don't cut a surrogate pair in half.
  const last = at === 0 || at === text.length ? 0 : text.charCodeAt(at - 1)
  return last >= 0xd800 && last < 0xdc00 ? at - 1 : at
}

function escapedLength(unit: number): number {
  if (unit === 0x22 || unit === 0x5c) return 2
  if (unit >= 0x20 && unit <= 0x7e) return 1
  // \b \t \n \f \r
  return (unit >= 0x08 && unit <= 0x0a) || unit === 0x0c || unit === 0x0d ? 2 : 6
}
