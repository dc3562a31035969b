/**
 * Where the bodies of large messages lie: what `claimCheck` needs from a file system, or from an object store such as S3. Names are
 * `<day>/<hash>`, such as `20260105/9f86d0…`: 8 digits for the day (UTC) on which the body was published, and the SHA-256 of the body in
 * hex. A name therefore never gets another body, and whatever is older than the longest life of a message can be deleted by day,
 * as by a lifecycle rule of a bucket.
 */
export interface ClaimStore {
  /**
   * Stores a body; resolves when it is durable, because the message follows. A body that is already there need not be stored again.
   * The bytes may change after the promise has settled.
   */
  put(name: string, body: Uint8Array): Promise<void>
  /** Resolves with the body, or with undefined when there is none. Rejects when that can't be told: the message is retried. */
  get(name: string): Promise<Uint8Array | undefined>
}
