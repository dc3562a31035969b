import { encodeRecord } from './commit-record.ts'
import type { CommitRecord } from './commit-record.ts'

/** How much of a list goes at once. */
const SHARE = 1 / 8

/**
 * The record as text of at most `maxCharacters`. Where it does not fit, what is known furthest ahead is forgotten, of the longer list first: a
 * finished message may be handled again, or attempts count anew, and nothing is lost. The floor and what is near it stay.
 */
export function fitRecord(
  record: CommitRecord,
  maxCharacters: number,
): { readonly text: string; readonly isCut: boolean } {
  let text = encodeRecord(record)
  let fitted = record
  while (text.length > maxCharacters && fitted.open.length + fitted.notes.length > 0) {
    let { open, notes, to } = fitted
    if (notes.length > open.length) notes = allButLast(notes)
    else {
      open = allButLast(open)
      to = (open.at(-1)?.[1] ?? fitted.floor - 1) + 1
    }
    fitted = { ...fitted, open, to, claim: Math.max(fitted.claim, fitted.to), notes }
    text = encodeRecord(fitted)
  }
  return { text, isCut: fitted !== record }
}

function allButLast<Item>(items: readonly Item[]): readonly Item[] {
  return items.slice(0, items.length - Math.ceil(items.length * SHARE))
}
