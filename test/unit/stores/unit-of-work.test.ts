import { describe, expect, it } from 'vitest'
import { CommitUnknownError } from '../../../src/core/errors.ts'
import { createUnitOfWork } from '../../../src/stores/unit-of-work.ts'
import type { TransactionAdapter } from '../../../src/stores/unit-of-work.ts'
import { errorOf } from '../middleware/fake-context.ts'

function adapter(changes: Partial<TransactionAdapter<string>>): TransactionAdapter<string> {
  return { transaction: (body) => body('tx'), savepoint: (tx, body) => body(tx), isRolledBack: () => false, ...changes }
}

describe('createUnitOfWork', () => {
  const lost = new Error('connection lost')

  it('calls the outcome of a COMMIT unknown only if the error does not prove that nothing was committed', async () => {
    const transaction: TransactionAdapter<string>['transaction'] = async (body) => {
      await body('tx')
      throw lost
    }
    const unknown = await errorOf(() => createUnitOfWork(adapter({ transaction })).run(() => 'result'))
    expect(CommitUnknownError.is(unknown)).toBe(true)
    expect(unknown).toMatchObject({ code: 'BUSBAR_COMMIT_UNKNOWN', cause: lost, retryable: false })
    const known = createUnitOfWork(adapter({ transaction, isRolledBack: (error) => error === lost }))
    expect(await errorOf(() => known.run(() => 'result'))).toBe(lost)
  })

  it('does not call the outcome unknown when there was no COMMIT: no BEGIN, an error of the function, of a write', async () => {
    const none = createUnitOfWork(adapter({ transaction: () => Promise.reject(lost) }))
    expect(await errorOf(() => none.run(() => 'result'))).toBe(lost)
    const unitOfWork = createUnitOfWork(adapter({}))
    expect(await errorOf(() => unitOfWork.run(() => Promise.reject(lost)))).toBe(lost)
    const failing = (): never => {
      throw lost
    }
    expect(await errorOf(() => unitOfWork.run((_, unit) => unit.buffer(failing, 1)))).toBe(lost)
  })

  it('does not call the function when the signal aborted while the transaction had to wait', async () => {
    const abort = new AbortController()
    const waiting: TransactionAdapter<string>['transaction'] = (body) => {
      abort.abort(lost)
      return body('tx')
    }
    let called = false
    const run = createUnitOfWork(adapter({ transaction: waiting })).run(() => void (called = true), {
      signal: abort.signal,
    })
    expect(await errorOf(() => run)).toBe(lost)
    expect(called).toBe(false)
  })

  it('gives the function of a nested run the transaction that the library made for it', async () => {
    const unitOfWork = createUnitOfWork(adapter({ savepoint: (tx, body) => body(`${tx}/savepoint`) }))
    const seen: string[] = []
    await unitOfWork.run(async () => {
      await unitOfWork.run((tx) => seen.push(tx))
      await unitOfWork.run(() => unitOfWork.run((tx) => seen.push(tx)))
    })
    expect(seen).toEqual(['tx/savepoint', 'tx/savepoint/savepoint'])
  })

  it('begins a separate transaction in what outlives the run that started it', async () => {
    let transactions = 0
    const unitOfWork = createUnitOfWork(
      adapter({
        transaction: (body) => {
          transactions++
          return body('tx')
        },
      }),
    )
    const gate = Promise.withResolvers<void>()
    let late: Promise<unknown> | undefined
    await unitOfWork.run(() => {
      late = gate.promise.then(() => unitOfWork.run(() => undefined))
    })
    gate.resolve()
    await late
    expect(transactions).toBe(2)
  })

  it('starts over when a library calls the function again', async () => {
    // Some retry by themselves after a serialization failure.
    const written: unknown[] = []
    const again: TransactionAdapter<string>['transaction'] = async (body) => {
      await body('first').catch(() => undefined)
      return body('second')
    }
    await createUnitOfWork(adapter({ transaction: again })).run((tx, unit) => {
      unit.buffer((_, rows: readonly string[]) => written.push(...rows), tx)
    })
    expect(written).toEqual(['first', 'second'])
  })
})
