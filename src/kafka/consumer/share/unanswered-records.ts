import type { KafkaError } from '../../errors.ts'
import type { ShareRecord } from './share-record.ts'
import { keyOf } from './share-session.ts'
import type { Said } from './share-session.ts'

/** What the answer to a request means for the records that were named in it. */
export interface Answered {
  /** By partition. An error: the verdicts don't count. */
  readonly verdicts: readonly { readonly records: readonly ShareRecord[]; readonly error: KafkaError | undefined }[]
  /** Their locks were not renewed, and they have no verdict. */
  readonly notRenewed: readonly ShareRecord[]
}

/** Records that one broker has handed out, until it has answered their verdicts. */
export class UnansweredRecords {
  /** Deliveries of each record, the oldest first: one whose lock has ended may come again before its verdict is answered. */
  readonly #records = new Map<string, Map<number, readonly ShareRecord[]>>()

  add(record: ShareRecord): void {
    const key = keyOf(record)
    let offsets = this.#records.get(key)
    if (offsets === undefined) this.#records.set(key, (offsets = new Map()))
    const before = offsets.get(record.offset)
    offsets.set(record.offset, before === undefined ? [record] : [...before, record])
  }

  /** Its verdict is not sent. */
  remove(record: ShareRecord): void {
    const key = keyOf(record)
    const offsets = this.#records.get(key)
    const left = offsets?.get(record.offset)?.filter((each) => each !== record) ?? []
    if (left.length > 0) offsets?.set(record.offset, left)
    else offsets?.delete(record.offset)
    if (offsets?.size === 0) this.#records.delete(key)
  }

  /** A request was answered: what was said in it counts, except for partitions that `errorOf` has an error for. */
  answered(said: Said, errorOf: (key: string) => KafkaError | undefined): Answered {
    const verdicts: { records: ShareRecord[]; error: KafkaError | undefined }[] = []
    const notRenewed: ShareRecord[] = []
    for (const [key, offsets] of said) {
      const error = errorOf(key)
      const records: ShareRecord[] = []
      for (const [offset, what] of offsets) {
        const deliveries = this.#records.get(key)?.get(offset) ?? []
        const isRenewal = what === 'renew'
        const record = deliveries.find(({ verdict }) => (verdict === undefined) === isRenewal)
        if (record === undefined || (isRenewal && error === undefined)) continue
        this.remove(record)
        if (isRenewal) notRenewed.push(record)
        else records.push(record)
      }
      if (records.length > 0) verdicts.push({ records, error })
    }
    return { verdicts, notRenewed }
  }

  /** Takes out all of them. Returns those that have a verdict: it is not known whether that counts. */
  clear(): readonly ShareRecord[] {
    const decided: ShareRecord[] = []
    for (const offsets of this.#records.values())
      for (const records of offsets.values()) decided.push(...records.filter(({ verdict }) => verdict !== undefined))
    this.#records.clear()
    return decided
  }
}
