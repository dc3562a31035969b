/** Topics of the Kafka suite, each of three partitions. */
export const KAFKA_TOPICS = {
  /** Is written to, and never read. */
  sink: 'bench',
  /** Stays empty. */
  idle: 'idle',
} as const

/** What consumers read: filled once for a run, see fill-topics.ts. */
export function kafkaBacklog(bytes: number): { readonly topic: string; readonly records: number } {
  return { topic: `records-${bytes}`, records: bytes > 500 ? 500_000 : 3_000_000 }
}

export const KAFKA_PARTITIONS = 3
export const KAFKA_VALUE_BYTES: readonly number[] = [100, 1_000]
