import type { ThreadError } from './protocol.ts'

/** SQLite has nothing against the file, but it is not one that we may use. */
export class FileError extends Error {
  readonly reason: NonNullable<ThreadError['reason']>

  constructor(reason: NonNullable<ThreadError['reason']>, message: string) {
    super(message)
    this.reason = reason
  }
}
