import { describe, expect, it } from 'vitest'
import { dedupeStoreScenarios } from '../../../src/testing/store-contracts/dedupe-store-scenarios.ts'
import { runStoreScenario } from '../../../src/testing/store-contracts/store-contract.ts'
import type { DedupeClaim, DedupeStore } from '../../../src/middleware/store.ts'

// A test that can't fail is a defect: each lie of a store must be found by the scenarios that promise the contrary.

interface Row {
  readonly token: string | undefined
  readonly until: number
}

/** Where a store can be made to lie. What is left out works as it should. */
interface Lie {
  /** Waits between reading a row and writing it, if the row is one of these. */
  readonly race?: (found: Row | undefined) => boolean
  readonly clock?: () => number
  readonly token?: () => string
  readonly keyOf?: (key: string) => string
  readonly own?: (row: Row, token: string, at: number) => boolean
  readonly left?: (leftMs: number) => number
  readonly renewed?: (row: Row, until: number) => number
  readonly completed?: (row: Row, until: number) => Row | undefined
  readonly answer?: boolean
  readonly released?: (row: Row) => Row | undefined
  readonly isFree?: (row: Row, at: number) => boolean
}

let lastToken = 0
let now = 0

function advance(ms: number): void {
  now += ms
}

/** A correct store, but for one lie; the rows are its database. */
function store(rows: Map<string, Row>, lie: Lie): DedupeStore {
  const { keyOf = (key) => key, clock = () => now } = lie
  const own = lie.own ?? ((row, token, at) => row.token === token && row.until > at)
  const isFree = lie.isFree ?? ((row, at) => row.until <= at)
  const set = (key: string, row: Row | undefined): void =>
    void (row === undefined ? rows.delete(keyOf(key)) : rows.set(keyOf(key), row))
  const change = async (key: string, token: string, next: (row: Row, at: number) => Row | undefined) => {
    const row = rows.get(keyOf(key))
    if (row === undefined || !own(row, token, clock())) return lie.answer ?? false
    set(key, next(row, clock()))
    return true
  }
  return {
    async claim(key, leaseMs): Promise<DedupeClaim> {
      const row = rows.get(keyOf(key))
      if (lie.race?.(row) === true) await new Promise(setImmediate)
      if (row !== undefined && !isFree(row, clock())) {
        const left = row.until - clock()
        return row.token === undefined
          ? { status: 'done' }
          : { status: 'in-progress', retryAfterMs: lie.left?.(left) ?? left }
      }
      const token = lie.token?.() ?? String(++lastToken)
      set(key, { token, until: clock() + leaseMs })
      return { status: 'claimed', token }
    },
    renew: (key, token, leaseMs) =>
      change(key, token, (row, at) => ({
        token: row.token,
        until: lie.renewed?.(row, at + leaseMs) ?? at + leaseMs,
      })),
    complete: (key, token, ttlMs) =>
      change(key, token, (row, at) =>
        lie.completed === undefined ? { token: undefined, until: at + ttlMs } : lie.completed(row, at + ttlMs),
      ),
    async release(key, token) {
      await change(key, token, (row) => lie.released?.(row))
    },
  }
}

async function run(id: string, create: () => DedupeStore): Promise<unknown> {
  const scenario = dedupeStoreScenarios.find((one) => one.id === id)
  if (scenario === undefined) throw new Error(`there is no scenario ${id}`)
  return runStoreScenario(scenario, { name: 'liar', create, advance, patienceMs: 100 }).then(
    () => undefined,
    (error: unknown) => error,
  )
}

const LIES: readonly { readonly lie: string; readonly how: Lie; readonly caughtBy: readonly string[] }[] = [
  { lie: 'reads, and then writes', how: { race: () => true }, caughtBy: ['claim/one-winner', 'claim/one-heir'] },
  {
    lie: 'reads, and then writes, when a lease has ended',
    how: { race: (found) => found?.token !== undefined },
    caughtBy: ['claim/one-heir'],
  },
  {
    lie: 'reads, and then writes, when a time to live has ended',
    how: { race: (found) => found !== undefined && found.token === undefined },
    caughtBy: ['claim/one-heir-of-done'],
  },
  {
    lie: 'has one token for all',
    how: { token: () => 'me' },
    caughtBy: ['claim/new-token', 'fence/wrong-token', 'fence/taken-over'],
  },
  {
    lie: 'does not compare tokens',
    how: { own: (row, _, at) => row.token !== undefined && row.until > at },
    caughtBy: ['fence/wrong-token', 'fence/taken-over'],
  },
  {
    lie: 'lets a holder go on after the end of its lease',
    how: { own: (row, token) => row.token === token },
    caughtBy: ['fence/ended'],
  },
  { lie: 'says yes without a claim', how: { answer: true }, caughtBy: ['fence/unknown-key', 'fence/used'] },
  { lie: 'goes by the clock of the client', how: { clock: () => Date.now() }, caughtBy: ['lease/clock'] },
  { lie: 'never ends a lease', how: { isFree: () => false }, caughtBy: ['lease/ends', 'complete/ends'] },
  { lie: 'ends every lease at once', how: { isFree: () => true }, caughtBy: ['claim/held', 'claim/one-winner'] },
  { lie: 'invents what is left', how: { left: () => 1_000 }, caughtBy: ['claim/held', 'renew/extends'] },
  { lie: 'does not renew', how: { renewed: (row) => row.until }, caughtBy: ['renew/extends', 'renew/shortens'] },
  {
    lie: 'adds to the lease when it renews',
    how: { renewed: (row, until) => Math.max(row.until, until) },
    caughtBy: ['renew/shortens'],
  },
  {
    lie: 'remembers only to the end of the lease',
    how: { completed: (row) => ({ token: undefined, until: row.until }) },
    caughtBy: ['complete/done', 'complete/ends'],
  },
  {
    lie: 'remembers forever',
    how: { completed: () => ({ token: undefined, until: Infinity }) },
    caughtBy: ['complete/ends'],
  },
  { lie: 'forgets what was done', how: { completed: () => undefined }, caughtBy: ['complete/done', 'keep/reopened'] },
  {
    lie: 'keeps what is completed as claimed',
    how: { completed: (row, until) => ({ token: row.token, until }) },
    caughtBy: ['complete/done', 'fence/used'],
  },
  { lie: 'does not release', how: { released: (row) => row }, caughtBy: ['release/free', 'claim/new-token'] },
  { lie: 'ignores case', how: { keyOf: (key) => key.toLowerCase() }, caughtBy: ['claim/odd-keys'] },
  { lie: 'ignores spaces at the end', how: { keyOf: (key) => key.trimEnd() }, caughtBy: ['claim/odd-keys'] },
  {
    lie: 'ignores NUL and what follows',
    how: { keyOf: (key) => key.split('\0')[0] ?? '' },
    caughtBy: ['claim/odd-keys'],
  },
  { lie: 'cuts keys off', how: { keyOf: (key) => key.slice(0, 255) }, caughtBy: ['claim/odd-keys'] },
  { lie: 'normalizes keys', how: { keyOf: (key) => key.normalize('NFC') }, caughtBy: ['claim/odd-keys'] },
  {
    lie: 'stores accents as letters',
    how: { keyOf: (key) => key.normalize('NFD').replace(/\p{M}/gu, '') },
    caughtBy: ['claim/odd-keys'],
  },
]

describe('the contract of a dedupe store', () => {
  it.each(dedupeStoreScenarios.map(({ id }) => id))('%s finds nothing wrong with a correct store', async (id) => {
    const rows = new Map<string, Row>()
    expect(await run(id, () => store(rows, {}))).toBeUndefined()
  })

  it.each(LIES)('finds a store that $lie', async ({ how, caughtBy }) => {
    for (const id of caughtBy) {
      const rows = new Map<string, Row>()
      expect(await run(id, () => store(rows, how)), id).toBeInstanceOf(Error)
    }
  })

  it('finds a store that each connection has for itself', async () => {
    for (const id of ['claim/held', 'claim/one-winner', 'complete/done', 'keep/reopened'])
      expect(await run(id, () => store(new Map(), {})), id).toBeInstanceOf(Error)
  })

  it('runs what a store with separate data can promise on one instance', async () => {
    let opened = 0
    const create = (): DedupeStore => {
      opened++
      return store(new Map(), {})
    }
    const scenario = dedupeStoreScenarios.find(({ id }) => id === 'claim/one-winner')
    await runStoreScenario(scenario as (typeof dedupeStoreScenarios)[number], { name: 'own', create, shared: false })
    expect(opened).toBe(1)
  })
})
