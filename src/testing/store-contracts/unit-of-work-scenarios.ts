import assert from 'node:assert/strict'
import { StateError } from '../../core/errors.ts'
import type { Unit, UnitOfWork } from '../../stores/unit-of-work.ts'
import type { StoreScenario } from './store-contract.ts'

/** A unit of work, and a table with one text column that its contract is tested on. */
export interface UnitOfWorkHarness<Tx> {
  readonly unitOfWork: UnitOfWork<Tx>
  /** Inserts a row with this value, in the transaction. Values are never inserted twice. */
  readonly insert: (tx: Tx, value: string) => unknown
  /** All values that another connection sees, in any order. */
  readonly values: () => readonly string[] | Promise<readonly string[]>
}

const broken = new Error('broken on purpose')

function fail(): never {
  throw broken
}

async function pause(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 2))
}

/** Asserts which of the values were committed. */
async function assertCommitted<Tx>(
  { values }: UnitOfWorkHarness<Tx>,
  expected: Readonly<Record<string, boolean>>,
): Promise<void> {
  const all = new Set(await values())
  assert.deepEqual(Object.fromEntries(Object.keys(expected).map((value) => [value, all.has(value)])), expected)
}

export function unitOfWorkScenarios<Tx>(): readonly StoreScenario<UnitOfWorkHarness<Tx>>[] {
  return [
    {
      id: 'run/commits',
      title: 'commits what was written, and resolves with the result when others can see it',
      async run(test) {
        const [harness, a, b] = [await test.open(), test.key(), test.key()]
        const result = await harness.unitOfWork.run(async (tx) => {
          await harness.insert(tx, a)
          await harness.insert(tx, b)
          return 'result'
        })
        assert.equal(result, 'result')
        await assertCommitted(harness, { [a]: true, [b]: true })
      },
    },
    {
      id: 'run/isolated',
      title: 'shows nothing to others before the commit',
      async run(test) {
        const [harness, a] = [await test.open(), test.key()]
        await harness.unitOfWork.run(async (tx) => {
          await harness.insert(tx, a)
          await assertCommitted(harness, { [a]: false })
        })
        await assertCommitted(harness, { [a]: true })
      },
    },
    {
      id: 'run/rolls-back',
      title: 'rolls back when the function throws, rejects with its error, and is usable afterwards',
      async run(test) {
        const [harness, a, b] = [await test.open(), test.key(), test.key()]
        for (const at of ['now', 'later']) {
          const failed = harness.unitOfWork.run(async (tx) => {
            await harness.insert(tx, `${a}${at}`)
            if (at === 'later') await pause()
            fail()
          })
          await assert.rejects(failed, broken)
        }
        await harness.unitOfWork.run((tx) => harness.insert(tx, b))
        await assertCommitted(harness, { [`${a}now`]: false, [`${a}later`]: false, [b]: true })
      },
    },
    {
      id: 'run/concurrent',
      title: 'keeps concurrent runs apart: one that fails undoes nothing of the others',
      async run(test) {
        const [harness, prefix] = [await test.open(), test.key()]
        const runs = Array.from({ length: 20 }, (_, index) =>
          harness.unitOfWork.run(async (tx) => {
            await harness.insert(tx, `${prefix}${index}a`)
            await pause()
            if (index % 3 === 0) fail()
            await harness.insert(tx, `${prefix}${index}b`)
          }),
        )
        const results = await Promise.allSettled(runs)
        const expected: Record<string, boolean> = {}
        for (const [index, { status }] of results.entries()) {
          assert.equal(status, index % 3 === 0 ? 'rejected' : 'fulfilled')
          for (const half of ['a', 'b']) expected[`${prefix}${index}${half}`] = index % 3 !== 0
        }
        await assertCommitted(harness, expected)
      },
    },
    {
      id: 'abort/before',
      title: 'does not begin when the signal has aborted',
      async run(test) {
        const harness = await test.open()
        let called = false
        const run = harness.unitOfWork.run(() => void (called = true), { signal: AbortSignal.abort(broken) })
        await assert.rejects(run, broken)
        assert.equal(called, false)
      },
    },
    {
      id: 'abort/during',
      title: 'rolls back when the signal aborts, and writes nothing that was buffered',
      async run(test) {
        const [harness, a] = [await test.open(), test.key()]
        const abort = new AbortController()
        let isWritten = false
        const run = harness.unitOfWork.run(
          async (tx, unit) => {
            await harness.insert(tx, a)
            unit.buffer(() => (isWritten = true), 1)
            abort.abort(broken)
            await pause()
          },
          { signal: abort.signal },
        )
        await assert.rejects(run, broken)
        assert.equal(isWritten, false)
        await assertCommitted(harness, { [a]: false })
      },
    },
    {
      id: 'buffer/flushed',
      title: 'writes what was buffered before the commit: one call for each write, in order',
      async run(test) {
        const [harness, prefix] = [await test.open(), test.key()]
        const calls: (readonly string[])[] = []
        const insertAll = async (tx: Tx, rows: readonly string[]): Promise<void> => {
          calls.push(rows)
          for (const row of rows) await harness.insert(tx, row)
        }
        const other = (_: Tx, rows: readonly string[]): void => void calls.push(rows)
        const [a, b, c] = [`${prefix}a`, `${prefix}b`, `${prefix}c`]
        await harness.unitOfWork.run(async (_, unit) => {
          unit.buffer(insertAll, a)
          unit.buffer(other, 'x')
          await pause()
          unit.buffer(insertAll, b)
          assert.deepEqual(calls, [])
          unit.buffer((__, ___: readonly number[]) => unit.buffer(insertAll, c), 1)
        })
        assert.deepEqual(calls, [[a, b], ['x'], [c]])
        await assertCommitted(harness, { [a]: true, [b]: true, [c]: true })
      },
    },
    {
      id: 'buffer/fails',
      title: 'rolls back when a buffered write fails, and writes nothing when the function fails',
      async run(test) {
        const [harness, a, b] = [await test.open(), test.key(), test.key()]
        const write = harness.unitOfWork.run(async (tx, unit) => {
          await harness.insert(tx, a)
          unit.buffer(fail, 1)
        })
        await assert.rejects(write, broken)
        let isWritten = false
        const failed = harness.unitOfWork.run(async (tx, unit) => {
          await harness.insert(tx, b)
          unit.buffer(() => (isWritten = true), 1)
          fail()
        })
        await assert.rejects(failed, broken)
        assert.equal(isWritten, false)
        await assertCommitted(harness, { [a]: false, [b]: false })
      },
    },
    {
      id: 'buffer/late',
      title: 'refuses what is buffered after the end',
      async run(test) {
        const harness = await test.open()
        let late: Unit<Tx> | undefined
        await harness.unitOfWork.run((_, unit) => void (late = unit))
        assert.throws(() => late?.buffer(() => undefined, 1), StateError)
      },
    },
    {
      id: 'current/scope',
      title: 'finds the current run through awaits, and none outside of it',
      async run(test) {
        const { unitOfWork } = await test.open()
        assert.equal(unitOfWork.current(), undefined)
        let later: Promise<unknown> | undefined
        const ended = Promise.withResolvers<void>()
        await unitOfWork.run(async (tx, unit) => {
          await pause()
          assert.equal(unitOfWork.current(), unit)
          assert.equal(unitOfWork.current()?.tx, tx)
          later = ended.promise.then(() => unitOfWork.current())
        })
        ended.resolve()
        assert.equal(await later, undefined)
      },
    },
    {
      id: 'nested/joins',
      title: 'undoes a nested run together with the outer one',
      async run(test) {
        const [harness, a, b] = [await test.open(), test.key(), test.key()]
        const { unitOfWork, insert } = harness
        let isWritten = false
        const outer = unitOfWork.run(async (tx) => {
          await insert(tx, a)
          await unitOfWork.run(async (inner, unit) => {
            await insert(inner, b)
            unit.buffer(() => (isWritten = true), 1)
          })
          await assertCommitted(harness, { [b]: false })
          fail()
        })
        await assert.rejects(outer, broken)
        assert.equal(isWritten, false)
        await assertCommitted(harness, { [a]: false, [b]: false })
      },
    },
    {
      id: 'nested/undone',
      title: 'undoes a nested run that fails, with what it buffered, and the outer one may continue',
      async run(test) {
        const [harness, prefix] = [await test.open(), test.key()]
        const { unitOfWork, insert } = harness
        const written: string[] = []
        const write = (_: Tx, rows: readonly string[]): void => void written.push(...rows)
        const name = (value: string): string => `${prefix}${value}`
        await unitOfWork.run(async (tx, unit) => {
          await insert(tx, name('a'))
          unit.buffer(write, 'first')
          await assert.rejects(
            unitOfWork.run(async (inner, innerUnit) => {
              await insert(inner, name('b'))
              innerUnit.buffer(write, 'undone')
              // A nested run of a nested run.
              await unitOfWork.run((innermost) => insert(innermost, name('c')))
              fail()
            }),
            broken,
          )
          await unitOfWork.run(async (inner, innerUnit) => {
            await insert(inner, name('d'))
            innerUnit.buffer(write, 'second')
          })
          await insert(tx, name('e'))
          unit.buffer(write, 'third')
        })
        assert.deepEqual(written, ['first', 'second', 'third'])
        const expected = { a: true, b: false, c: false, d: true, e: true }
        await assertCommitted(
          harness,
          Object.fromEntries(Object.entries(expected).map(([key, value]) => [name(key), value])),
        )
      },
    },
    {
      id: 'nested/parallel',
      title: 'lets nested runs that begin together take turns, and waits for those that are not awaited',
      async run(test) {
        const [harness, prefix] = [await test.open(), test.key()]
        const { unitOfWork, insert } = harness
        const results: Promise<unknown>[] = []
        await unitOfWork.run(() => {
          for (let index = 0; index < 6; index++)
            results.push(
              unitOfWork.run(async (tx) => {
                await insert(tx, `${prefix}${index}`)
                await pause()
                if (index % 2 === 0) fail()
              }),
            )
          void Promise.allSettled(results)
        })
        const expected: Record<string, boolean> = {}
        for (const [index, { status }] of (await Promise.allSettled(results)).entries()) {
          assert.equal(status, index % 2 === 0 ? 'rejected' : 'fulfilled')
          expected[`${prefix}${index}`] = index % 2 !== 0
        }
        await assertCommitted(harness, expected)
      },
    },
  ]
}
