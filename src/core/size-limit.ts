import { PublishError } from './errors.ts'
import { OWN_PREFIX } from './headers.ts'
import { NO_HEADERS } from './message.ts'
import type { EncodedMessage } from './message.ts'

/**
 * Largest total of the headers that Busbar itself writes on a message, names and values (`busbar-…`: the story of a dead
 * letter, the count of redrives). They are not counted against `maxMessageBytes`: whatever could be published can
 * be dead-lettered and redriven. A transport leaves this much room, and that of the envelope, below the limit of its broker.
 */
export const OWN_HEADER_BYTES = 24_576

/** Room for the attributes of the envelope (id, type, source, key, trace context …) where they travel as headers. */
export const ENVELOPE_ROOM_BYTES = 8_192

/** What a user may fill: the body and the user's own headers, in bytes. */
export function contentBytes(message: EncodedMessage): number {
  const { body, headers } = message
  if (headers === NO_HEADERS) return body.byteLength
  let bytes = body.byteLength
  for (const name in headers)
    if (!name.startsWith(OWN_PREFIX)) bytes += name.length + Buffer.byteLength(headers[name] as string)
  return bytes
}

/** What a message over the limit of a transport gets; undefined when it fits. `system` names the transport. */
export function tooLarge(message: EncodedMessage, maxMessageBytes: number, system: string): PublishError | undefined {
  if (certainlyFits(message, maxMessageBytes)) return undefined
  const bytes = contentBytes(message)
  if (bytes <= maxMessageBytes) return undefined
  return new PublishError(
    `The message for "${message.topic}" has ${bytes} bytes, headers included; ${system} takes ${maxMessageBytes} (maxMessageBytes). ` +
      'It was not sent. Send a reference to the data, or raise the limit of the transport and its broker.',
    { outcome: 'not-sent' },
  )
}

/** Without counting the bytes of any text: UTF-8 takes at most three for a UTF-16 unit. */
function certainlyFits({ body, headers }: EncodedMessage, limit: number): boolean {
  let bytes = body.byteLength
  if (headers === NO_HEADERS) return bytes <= limit
  for (const name in headers) bytes += name.length + 3 * (headers[name] as string).length
  return bytes <= limit
}
