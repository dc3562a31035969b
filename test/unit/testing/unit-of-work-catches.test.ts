import { describe, expect, it } from 'vitest'
import { createUnitOfWork } from '../../../src/stores/unit-of-work.ts'
import type { TransactionAdapter, Unit, UnitOfWork } from '../../../src/stores/unit-of-work.ts'
import { runStoreScenario } from '../../../src/testing/store-contracts/store-contract.ts'
import type { UnitOfWorkHarness } from '../../../src/testing/store-contracts/unit-of-work-scenarios.ts'
import { unitOfWorkScenarios } from '../../../src/testing/store-contracts/unit-of-work-scenarios.ts'

// A test that can't fail is a defect: each lie of an adapter must be found by the scenarios that promise the contrary.

interface Tx {
  rows: string[]
}

/** Where a unit of work can be made to lie. What is left out works as it should. */
interface Lie {
  readonly begin?: (committed: string[]) => Tx
  readonly afterThrow?: (tx: Tx, committed: string[]) => void
  readonly savepointThrow?: (tx: Tx, before: number) => void
  readonly commit?: (tx: Tx, committed: string[]) => void
  readonly whole?: (inner: UnitOfWork<Tx>) => UnitOfWork<Tx>
}

const scenarios = unitOfWorkScenarios<Tx>()

/** A correct one over a database of one array, but for one lie. */
function harness(lie: Lie): UnitOfWorkHarness<Tx> {
  const committed: string[] = []
  const adapter: TransactionAdapter<Tx> = {
    async transaction(body) {
      const tx = lie.begin?.(committed) ?? { rows: [] }
      const result = await body(tx).catch((error: unknown) => {
        lie.afterThrow?.(tx, committed)
        throw error
      })
      if (lie.commit === undefined) committed.push(...tx.rows)
      else lie.commit(tx, committed)
      return result
    },
    async savepoint(tx, body) {
      const before = tx.rows.length
      return body(tx).catch((error: unknown) => {
        if (lie.savepointThrow === undefined) tx.rows.length = before
        else lie.savepointThrow(tx, before)
        throw error
      })
    },
    isRolledBack: () => true,
  }
  const unitOfWork = createUnitOfWork(adapter)
  return {
    unitOfWork: lie.whole?.(unitOfWork) ?? unitOfWork,
    insert: (tx, value) => tx.rows.push(value),
    values: () => committed,
  }
}

async function run(id: string, lie: Lie): Promise<unknown> {
  const scenario = scenarios.find((one) => one.id === id)
  if (scenario === undefined) throw new Error(`there is no scenario ${id}`)
  const create = () => harness(lie)
  return runStoreScenario(scenario, { name: 'liar', create, patienceMs: 100 }).then(
    () => undefined,
    (error: unknown) => error,
  )
}

let shared: Tx | undefined

const LIES: readonly { readonly lie: string; readonly how: Lie; readonly caughtBy: readonly string[] }[] = [
  {
    lie: 'commits what was written before an error',
    how: { afterThrow: (tx, committed) => committed.push(...tx.rows) },
    caughtBy: ['run/rolls-back', 'run/concurrent', 'abort/during', 'buffer/fails', 'nested/joins'],
  },
  {
    lie: 'writes without a transaction',
    how: { begin: (committed) => ({ rows: committed }), commit: () => {} },
    caughtBy: ['run/isolated', 'run/rolls-back', 'nested/joins'],
  },
  { lie: 'commits nothing', how: { commit: () => {} }, caughtBy: ['run/commits', 'buffer/flushed'] },
  {
    lie: 'commits after it has resolved',
    how: { commit: (tx, committed) => void setTimeout(() => committed.push(...tx.rows), 5) },
    caughtBy: ['run/commits'],
  },
  {
    lie: 'has one transaction for concurrent runs',
    how: { begin: () => (shared ??= { rows: [] }), afterThrow: (tx) => (tx.rows.length = 0) },
    caughtBy: ['run/concurrent'],
  },
  {
    lie: 'does not roll back to a savepoint',
    how: { savepointThrow: () => {} },
    caughtBy: ['nested/undone', 'nested/parallel'],
  },
  {
    lie: 'rolls everything back instead of to the savepoint',
    how: { savepointThrow: (tx) => (tx.rows.length = 0) },
    caughtBy: ['nested/undone', 'nested/parallel'],
  },
  {
    lie: 'ignores the signal',
    how: { whole: (inner) => ({ current: () => inner.current(), run: (fn) => inner.run(fn) }) },
    caughtBy: ['abort/before', 'abort/during'],
  },
  {
    lie: 'does not know what runs',
    how: { whole: (inner) => ({ current: () => undefined, run: (fn, options) => inner.run(fn, options) }) },
    caughtBy: ['current/scope'],
  },
  {
    lie: 'writes what is buffered at once, and accepts it after the end',
    how: {
      whole: (inner) => ({
        current: () => inner.current(),
        run: (fn, options) => inner.run((tx, unit) => fn(tx, eager(unit)), options),
      }),
    },
    caughtBy: ['buffer/flushed', 'buffer/late', 'nested/undone', 'abort/during'],
  },
]

function eager(unit: Unit<Tx>): Unit<Tx> {
  return { tx: unit.tx, buffer: (write, row) => void write(unit.tx, [row]) }
}

describe('the contract of a unit of work', () => {
  it.each(scenarios.map(({ id }) => id))('%s finds nothing wrong with a correct one', async (id) => {
    expect(await run(id, {})).toBeUndefined()
  })

  it.each(LIES)('finds one that $lie', async ({ how, caughtBy }) => {
    for (const id of caughtBy) expect(await run(id, how), id).toBeInstanceOf(Error)
  })
})
