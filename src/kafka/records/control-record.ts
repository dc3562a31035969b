import type { KafkaRecord } from './record.ts'
import { corrupt } from './record-batch.ts'

/** What the one record of a control batch says. Other types than the two of transactions are for brokers among themselves. */
export interface ControlRecord {
  readonly type: 'abort' | 'commit' | 'other'
  /** -1 where the type has none. */
  readonly coordinatorEpoch: number
}

export function readControlRecord(record: KafkaRecord): ControlRecord {
  const { key, value } = record
  if (key === null || key.length < 4) throw corrupt(`the control record at offset ${record.offset} has no type`)
  const code = key.readInt16BE(2)
  if (code !== 0 && code !== 1) return { type: 'other', coordinatorEpoch: -1 }
  if (value === null || value.length < 6) throw corrupt(`the marker at offset ${record.offset} has no epoch`)
  return { type: code === 1 ? 'commit' : 'abort', coordinatorEpoch: value.readInt32BE(2) }
}
