import { AssertionError } from 'node:assert/strict'

/** How certain it is that the broker has a message. */
export type PublishFate = 'confirmed' | 'unknown' | 'not-sent'

/** What `check` lets pass. */
export interface LedgerPolicy {
  /**
   * Which messages may be handled more than once: none (default), any, or those for which the function returns true
   * because a fault explains it.
   */
  readonly duplicates?: 'none' | 'any' | ((id: string) => boolean) | undefined
  /** Whether the first successful handling of each message must follow the order of publication within a key. Default true. */
  readonly order?: boolean | undefined
}

/** The account of all messages. */
export interface LedgerReport {
  readonly confirmed: number
  readonly unknown: number
  readonly notSent: number
  /** Number of distinct messages that were handled. */
  readonly handled: number
  /** Confirmed but never handled: lost. */
  readonly missing: readonly string[]
  /** Handled more than once, with the number of times. */
  readonly duplicates: readonly { readonly id: string; readonly times: number }[]
  /** Handled although never published, or although their publish failed as certainly not sent. */
  readonly impossible: readonly string[]
  /** Messages whose first handling came after that of a later message of the same key. */
  readonly outOfOrder: readonly { readonly key: string; readonly id: string; readonly after: string }[]
}

/**
 * Accounts for every message by its id: how its publish ended and whether a handler finished it. Report things in the
 * order in which they happened, then call `check()`.
 */
export interface Ledger {
  /** Records how a publish ended. Within a key, call it in the order of publication. */
  published(id: string, fate: PublishFate, key?: string): void
  /** Records that a handler succeeded. */
  handled(id: string): void
  /** The account so far. */
  report(): LedgerReport
  /** True when every confirmed message was handled at least once. */
  complete(): boolean
  /** Throws an `AssertionError` that lists what is missing, handled twice, impossible or out of order. */
  check(policy?: LedgerPolicy): LedgerReport
}

interface Entry {
  readonly fate: PublishFate
  readonly key: string | undefined
  readonly sequence: number
}

/** Creates an empty ledger. */
export function ledger(): Ledger {
  const entries = new Map<string, Entry>()
  /** Insertion order is the order of first handling. */
  const times = new Map<string, number>()
  let confirmedAndUnhandled = 0

  const outOfOrder = (): LedgerReport['outOfOrder'] => {
    const latest = new Map<string, { id: string; sequence: number }>()
    const found: { key: string; id: string; after: string }[] = []
    for (const id of times.keys()) {
      const entry = entries.get(id)
      if (entry?.key === undefined) continue
      const before = latest.get(entry.key)
      if (before !== undefined && before.sequence > entry.sequence) found.push({ key: entry.key, id, after: before.id })
      else latest.set(entry.key, { id, sequence: entry.sequence })
    }
    return found
  }

  const report = (): LedgerReport => {
    const fates = { confirmed: 0, unknown: 0, 'not-sent': 0 }
    const missing: string[] = []
    for (const [id, entry] of entries) {
      fates[entry.fate]++
      if (entry.fate === 'confirmed' && !times.has(id)) missing.push(id)
    }
    const duplicates: { id: string; times: number }[] = []
    const impossible: string[] = []
    for (const [id, count] of times) {
      if (count > 1) duplicates.push({ id, times: count })
      const entry = entries.get(id)
      if (entry === undefined || entry.fate === 'not-sent') impossible.push(id)
    }
    return {
      confirmed: fates.confirmed,
      unknown: fates.unknown,
      notSent: fates['not-sent'],
      handled: times.size,
      missing,
      duplicates,
      impossible,
      outOfOrder: outOfOrder(),
    }
  }

  return {
    published(id, fate, key) {
      if (entries.has(id)) throw new RangeError(`The ledger already holds a publish of "${id}": ids must be unique`)
      entries.set(id, { fate, key, sequence: entries.size })
      if (fate === 'confirmed' && !times.has(id)) confirmedAndUnhandled++
    },
    handled(id) {
      const before = times.get(id) ?? 0
      times.set(id, before + 1)
      if (before === 0 && entries.get(id)?.fate === 'confirmed') confirmedAndUnhandled--
    },
    report,
    complete: () => confirmedAndUnhandled === 0,
    check(policy = {}) {
      const found = report()
      const { duplicates = 'none', order = true } = policy
      const allowed = typeof duplicates === 'function' ? duplicates : () => duplicates === 'any'
      const twice = found.duplicates.filter(({ id }) => !allowed(id))
      const faults = [
        listed('confirmed and never handled', found.missing),
        listed(
          'handled more than once',
          twice.map(({ id, times }) => `${id} (${times} times)`),
        ),
        listed('handled and never sent', found.impossible),
        listed(
          'out of order',
          order ? found.outOfOrder.map(({ key, id, after }) => `${id} after ${after} (key ${key})`) : [],
        ),
      ].filter((line) => line !== '')
      if (faults.length > 0)
        throw new AssertionError({
          message: `Of ${found.confirmed} confirmed messages ${found.handled} were handled.\n${faults.join('\n')}`,
        })
      return found
    },
  }
}

const SHOWN = 10

function listed(what: string, items: readonly string[]): string {
  if (items.length === 0) return ''
  const more = items.length > SHOWN ? ` and ${items.length - SHOWN} more` : ''
  return `  ${items.length} ${what}: ${items.slice(0, SHOWN).join(', ')}${more}`
}
