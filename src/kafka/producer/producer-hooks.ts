import type { KafkaError } from '../errors.ts'

/** A batch was confirmed or failed. */
export interface BatchEvent {
  readonly topic: string
  readonly partition: number
  readonly records: number
  /** Before compression. */
  readonly bytes: number
  /** Time since its first record. */
  readonly durationMs: number
  /** Undefined if it was confirmed. */
  readonly error: KafkaError | undefined
}
