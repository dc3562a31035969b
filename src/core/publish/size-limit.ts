import { PublishError } from '../errors.ts'
import { DEAD_LETTER_REASON, OWN_PREFIX } from '../headers.ts'
import { bodyBytes, NO_HEADERS } from '../message.ts'
import type { EncodedMessage } from '../message.ts'

/**
 * Maximum total size of the headers that Busbar adds to a message, names and values (`busbar-…`: failure details of a dead
 * letter, the count of redrives). They don't count against `maxMessageBytes`, so whatever could be published can be
 * dead-lettered and redriven. A transport reserves this much, plus the room for the envelope, below the limit of its broker.
 */
export const OWN_HEADER_BYTES = 24_576

/** Room for the attributes of the envelope (id, type, source, key, trace context …) where they travel as headers. */
export const ENVELOPE_ROOM_BYTES = 8_192

/** Size of the body and the user's headers, in bytes. */
export function contentBytes(message: EncodedMessage): number {
  const { headers } = message
  let bytes = bodyBytes(message)
  if (headers === NO_HEADERS) return bytes
  for (const name in headers)
    if (!name.startsWith(OWN_PREFIX)) bytes += name.length + Buffer.byteLength(headers[name] as string)
  return bytes
}

/**
 * True for a dead letter, and for a copy that goes back to one group. The broker has taken that message before, perhaps from
 * another program: `maxMessageBytes` doesn't apply, only the broker's own limit.
 */
export function isCopy({ group, headers }: EncodedMessage & { readonly group?: string | undefined }): boolean {
  return group !== undefined || headers[DEAD_LETTER_REASON] !== undefined
}

/** The error for a message above the limit of a transport; undefined when it fits. `system` names the transport. */
export function tooLarge(
  message: EncodedMessage & { readonly group?: string | undefined },
  maxMessageBytes: number,
  system: string,
): PublishError | undefined {
  if (certainlyFits(message, maxMessageBytes) || isCopy(message)) return undefined
  const bytes = contentBytes(message)
  if (bytes <= maxMessageBytes) return undefined
  return new PublishError(
    `The message for "${message.topic}" has ${bytes} bytes, headers included; ${system} takes ${maxMessageBytes} (maxMessageBytes). ` +
      'It was not sent. Send a reference to the data, or raise the limit of the transport and its broker.',
    { outcome: 'not-sent' },
  )
}

/** Upper bound without encoding any text: UTF-8 takes at most three bytes per UTF-16 unit. */
function certainlyFits(message: EncodedMessage, limit: number): boolean {
  const { headers } = message
  let bytes = bodyBytes(message)
  if (headers === NO_HEADERS) return bytes <= limit
  for (const name in headers) bytes += name.length + 3 * (headers[name] as string).length
  return bytes <= limit
}
