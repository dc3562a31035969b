/**
 * Parses `2026-01-02T03:04:05.678Z` within a text, without the general parser and without a substring; NaN for anything
 * else.
 */
export function fixedInstant(text: string, at: number): number {
  if (text.charCodeAt(at + 23) !== Z) return Number.NaN
  const year = digits(text, at, at + 4)
  // `Date.UTC` takes 50 for 1950.
  if (year < 100) return Number.NaN
  return Date.UTC(
    year,
    digits(text, at + 5, at + 7) - 1,
    digits(text, at + 8, at + 10),
    digits(text, at + 11, at + 13),
    digits(text, at + 14, at + 16),
    digits(text, at + 17, at + 19),
    digits(text, at + 20, at + 23),
  )
}

const MAX_MS = 8.64e15

/** An AMQP timestamp, in ms; undefined beyond the dates of JavaScript. Some programs write microseconds there. */
export function fromTimestamp(seconds: unknown): number | undefined {
  return typeof seconds === 'number' && seconds * 1000 <= MAX_MS ? seconds * 1000 : undefined
}

const Z = 90

function digits(text: string, from: number, to: number): number {
  let number = 0
  for (let index = from; index < to; index++) {
    const digit = text.charCodeAt(index) - 48
    if (digit < 0 || digit > 9) return Number.NaN
    number = number * 10 + digit
  }
  return number
}
