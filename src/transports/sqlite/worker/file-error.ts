import type { ThreadError } from '../protocol.ts'

/** SQLite can use the file, but Busbar may not. */
export class FileError extends Error {
  readonly reason: NonNullable<ThreadError['reason']>

  constructor(reason: NonNullable<ThreadError['reason']>, message: string) {
    super(message)
    this.reason = reason
  }
}
