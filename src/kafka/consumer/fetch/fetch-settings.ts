/** How records are fetched. */
export interface FetchSettings {
  /** How long a broker waits for `minBytes`. In milliseconds. */
  readonly maxWaitMs: number
  readonly minBytes: number
  /** Of one answer. */
  readonly maxBytes: number
  /** Of one partition in one answer; a batch that is larger comes whole. */
  readonly maxPartitionBytes: number
  /** Of all that has been asked for and not been delivered. */
  readonly maxBufferedBytes: number
  /** Whether records of transactions are left out until these are committed. */
  readonly isCommitted: boolean
  /** Where this process is: brokers may name a replica there (KIP-392). */
  readonly rack: string
}
