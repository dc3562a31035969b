/** What identifies one message of one consumer. Both are at most a few hundred characters long. */
export interface InboxKey {
  readonly consumer: string
  readonly message: string
}

/** Figures of an inbox. */
export interface InboxStats {
  /** Messages that are remembered, counted up to 100,000. */
  readonly remembered: number
  /** Of these, those whose time is over: they are deleted in small batches. */
  readonly expired: number
}

/** Which messages `forget` is about. */
export interface ForgetFilter {
  /** `<group> <topic>`. */
  readonly consumer?: string | undefined
  /** Message ids. */
  readonly ids?: readonly string[] | undefined
}

/** The table of an inbox. `record` runs in the caller's transaction, everything else outside of it. */
export interface InboxStore<Tx> {
  /** The SQL that creates the table, or brings it up to date. */
  readonly sql: string
  /** Runs it. Several processes may do so at once. */
  createTables(): Promise<void>
  /**
   * Records in the transaction that the message is handled. False: it was handled before. When another transaction is recording the
   * same message, it waits until that one has ended.
   */
  record(tx: Tx, key: InboxKey, ttlMs: number): boolean | Promise<boolean>
  /** Deletes up to `limit` messages whose time is over. Resolves with how many there were. */
  purge(limit: number): Promise<number>
  /** Forgets messages, so that they are handled again. Resolves with how many there were. */
  forget(filter: ForgetFilter): Promise<number>
  /** Counts what is remembered. */
  stats(): Promise<InboxStats>
  /** True for an error that may pass by itself: a lock that was not free in time, or transactions that got in each other's way. */
  mayPass(error: unknown): boolean
}
