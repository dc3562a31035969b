import { SettlementError } from '../../../core/errors.ts'
import type { ShareRecord } from '../../../kafka/index.ts'

/** Verdicts of one call of `settle`. */
interface Call {
  left: number
  readonly failures: { readonly index: number; readonly error: SettlementError }[]
  readonly done: () => void
}

/** Verdicts that the broker has not answered. */
export class Verdicts {
  readonly #calls = new Map<ShareRecord, { readonly call: Call; readonly index: number }>()

  /** Says what becomes of records. Resolves when the broker has answered, with those for which it does not count. */
  give(
    verdicts: readonly {
      readonly index: number
      readonly record: ShareRecord
      readonly verdict: 'accept' | 'reject'
    }[],
  ): Promise<readonly { readonly index: number; readonly error: SettlementError }[]> {
    return new Promise((resolve) => {
      const call: Call = { left: 1, failures: [], done: () => resolve(call.failures) }
      for (const { index, record, verdict } of verdicts) {
        // First: the answer may come within the call.
        this.#calls.set(record, { call, index })
        call.left++
        const isInTime = verdict === 'accept' ? record.accept() : record.reject()
        if (!isInTime) this.answered([record], 'its lock had expired')
      }
      this.#end(call)
    })
  }

  /** `problem`: why what was said about these does not count. */
  answered(records: readonly ShareRecord[], problem: string | undefined): void {
    for (const record of records) {
      const waiting = this.#calls.get(record)
      if (waiting === undefined) continue
      this.#calls.delete(record)
      const { call, index } = waiting
      if (problem !== undefined)
        call.failures.push({
          index,
          error: new SettlementError(`The settlement did not count (${problem}); the message is delivered again`),
        })
      this.#end(call)
    }
  }

  /** Nothing more is answered. */
  abandon(problem: string): void {
    this.answered([...this.#calls.keys()], problem)
  }

  #end(call: Call): void {
    if (--call.left === 0) call.done()
  }
}
