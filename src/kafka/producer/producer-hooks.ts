import type { KafkaError } from '../errors.ts'

/** A batch has been confirmed, or has failed. */
export interface BatchEvent {
  readonly topic: string
  readonly partition: number
  readonly records: number
  /** Before compression. */
  readonly bytes: number
  /** From its first record on. */
  readonly durationMs: number
  /** Undefined if it was confirmed. */
  readonly error: KafkaError | undefined
}
