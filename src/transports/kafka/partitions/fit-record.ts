import { encodeRecord } from './commit-record.ts'
import type { CommitRecord } from './commit-record.ts'

/**
 * The record as text of at most `maxCharacters`. Where it does not fit, what is finished furthest ahead is forgotten, half by half:
 * it may be handled again, and nothing is lost. The floor and what is near it stay.
 */
export function fitRecord(record: CommitRecord, maxCharacters: number): string {
  let text = encodeRecord(record)
  let fitted = record
  while (text.length > maxCharacters && fitted.open.length + fitted.notes.length > 0) {
    const open = fitted.open.slice(0, fitted.open.length >> 1)
    const to = (open.at(-1)?.[1] ?? fitted.floor - 1) + 1
    // Notes near the floor count most: those messages come again first.
    const notes = open.length > 0 ? fitted.notes : fitted.notes.slice(0, fitted.notes.length >> 1)
    fitted = { ...fitted, open, to, claim: Math.max(fitted.claim, fitted.to, to), notes }
    text = encodeRecord(fitted)
  }
  return text
}
