import { existsSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import { ConnectionError, PublishError, SettlementError } from '../../core/errors.ts'
import type { ThreadError } from './protocol.ts'

const BUSY = 5
const NOMEM = 7
const READONLY = 8
const IOERR = 10
const CORRUPT = 11
const FULL = 13
const CANTOPEN = 14
const NOTADB = 26

/** Syncing failed after the log was written: whether the data survives a power cut is open. */
const IOERR_FSYNC = 1034
const IOERR_DIR_FSYNC = 1290

/** What happened to the file, what to do about it, and whether a retry makes sense. */
export interface Explanation {
  readonly text: string
  readonly retryable: boolean
}

export function explain(error: ThreadError, path: string): Explanation {
  if (error.reason !== undefined) return explainFile(error.reason, error.message, path)
  switch (error.sqlite === undefined ? undefined : error.sqlite & 0xff) {
    case BUSY:
      return { text: `another process kept "${path}" locked for longer than busyTimeoutMs`, retryable: true }
    case FULL:
      return {
        text: `the disk (or the size limit) of "${path}" is full: make room, nothing was written`,
        retryable: true,
      }
    case IOERR:
      return { text: `reading or writing "${path}" failed (${error.message}): check the disk`, retryable: true }
    case CORRUPT:
      return {
        text: `"${path}" is damaged: restore it from a backup, or save what can be read with the command ".recover" of sqlite3`,
        retryable: false,
      }
    case NOTADB:
      return {
        text: `"${path}" is not an SQLite database, or is damaged: give another path, or restore it from a backup`,
        retryable: false,
      }
    case READONLY:
      return {
        text: `"${path}" can't be written: check the permissions of the file and of its folder`,
        retryable: false,
      }
    case NOMEM:
      return { text: 'SQLite ran out of memory', retryable: true }
    default:
      return { text: `${error.message} ("${path}")`, retryable: error.sqlite !== undefined }
  }
}

/** Why the file could not be opened. */
export function toConnectionError(error: ThreadError, path: string): ConnectionError {
  const { text, retryable } = explainOpen(error, path)
  return new ConnectionError(`The SQLite transport can't open its file: ${text}`, { retryable, cause: toCause(error) })
}

function explainOpen(error: ThreadError, path: string): Explanation {
  if (((error.sqlite ?? 0) & 0xff) !== CANTOPEN) return explain(error, path)
  const folder = dirname(path)
  if (!existsSync(folder)) return { text: `the folder "${folder}" does not exist: create it first`, retryable: false }
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory() === true)
    return { text: `"${path}" is a folder: name a file in it`, retryable: false }
  return {
    text: `"${path}" can't be opened or created: check the permissions of the file and of its folder`,
    retryable: false,
  }
}

function explainFile(reason: NonNullable<ThreadError['reason']>, message: string, path: string): Explanation {
  const retryable = false
  switch (reason) {
    case 'foreign-file':
      return { text: `"${path}" can't be used: ${message}. Give Busbar a separate file`, retryable }
    case 'newer-schema':
      return { text: `"${path}" was written by a newer Busbar (${message}): update this one`, retryable }
    case 'no-wal':
      return { text: `"${path}": ${message}. Put it on a local disk, not on a network file system`, retryable }
    case 'file-gone':
      return { text: `"${path}": ${message}. Put it back, or start the process again to begin a new one`, retryable }
  }
}

/** Why a batch is not in the file. It was rolled back as a whole, so it is certainly not there, with one exception. */
export function toPublishError(error: ThreadError, path: string): PublishError {
  const { text, retryable } = explain(error, path)
  const unsure = error.sqlite === IOERR_FSYNC || error.sqlite === IOERR_DIR_FSYNC
  return new PublishError(`The message was not stored: ${text}`, {
    outcome: unsure ? 'unknown' : 'not-sent',
    retryable,
    cause: toCause(error),
  })
}

/** `undefined`: the delivery belongs to another member. */
export function toSettlementError(error: ThreadError | undefined, path: string): SettlementError {
  if (error === undefined)
    return new SettlementError(
      'The delivery is no longer ours: its lease ended, or its group was moved; it is delivered again',
    )
  return new SettlementError(
    `The outcome was not stored, and the message is delivered again: ${explain(error, path).text}`,
    {
      cause: toCause(error),
    },
  )
}

/** Why a note about a running handler is not in the file. */
export function toNoteError(error: ThreadError, path: string): SettlementError {
  return new SettlementError(
    `The note about a running handler was not stored: ${explain(error, path).text}. If the process ends now, its attempt is not counted`,
    { cause: toCause(error) },
  )
}

/** Converts an error of the database thread. */
export function toCause(error: ThreadError): Error {
  const cause = new Error(error.message)
  if (error.stack !== undefined) cause.stack = error.stack
  if (error.sqlite !== undefined) Object.assign(cause, { errcode: error.sqlite })
  return cause
}
