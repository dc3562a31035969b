import { RESP_TYPES } from 'redis'

/**
 * Bytes stay bytes, and maps are flat lists in either version of the protocol. No timeout: the client's default creates
 * an AbortSignal for each command, which costs more than the command.
 */
export const REPLY_OPTIONS: object = Object.freeze({
  typeMapping: Object.freeze({ [RESP_TYPES.BLOB_STRING]: Buffer, [RESP_TYPES.MAP]: Array }),
  timeout: undefined,
})
