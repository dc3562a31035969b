/**
 * Any text as one line of printable ASCII, at most `maxChars` long: JSON with its escapes, without the quotes. What does
 * not fit is cut off between two characters, never within an escape.
 */
export function toHeaderText(text: string, maxChars: number): string {
  // What is too long by itself need not be escaped whole first: a thrown string may have any length.
  const head = text.length > maxChars ? text.slice(0, maxChars) : text
  const escaped = escapeText(head)
  return escaped.length <= maxChars ? escaped : cut(head, maxChars)
}

/** The way back. What was not written by `toHeaderText` is returned as it is. */
export function fromHeaderText(value: string): string {
  try {
    return JSON.parse(`"${value}"`) as string
  } catch {
    return value
  }
}

/** JSON in printable ASCII: the same data, with every other character as an escape. */
export function toAsciiJson(value: unknown): string {
  return toAscii(JSON.stringify(value))
}

function escapeText(text: string): string {
  return toAscii(JSON.stringify(text)).slice(1, -1)
}

function toAscii(json: string): string {
  return json.replace(/[^\x20-\x7e]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

function cut(text: string, maxChars: number): string {
  let escaped = ''
  for (const char of text) {
    const next = escapeText(char)
    if (escaped.length + next.length > maxChars) break
    escaped += next
  }
  return escaped
}
