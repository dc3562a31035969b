import { PublishError } from '../../core/errors.ts'
import { NO_HEADERS } from '../../core/message.ts'
import type { EncodedMessage } from '../../core/message.ts'

/** A dead letter is its message and the story of the failure: what could be stored once must not get stuck for that. */
export const DEAD_LETTER_ROOM = 65_536

/** The error for a message whose body and headers are larger than `limit`, or undefined. */
export function tooLarge(message: EncodedMessage, limit: number): PublishError | undefined {
  const bytes = contentBytes(message)
  if (bytes <= limit) return undefined
  const text = `The message to "${message.topic}" is ${bytes} bytes large, the limit is ${limit} (maxMessageBytes)`
  return new PublishError(text, { outcome: 'not-sent' })
}

function contentBytes(message: EncodedMessage): number {
  let bytes = message.body.byteLength
  if (message.headers === NO_HEADERS) return bytes
  for (const name in message.headers) bytes += name.length + Buffer.byteLength(message.headers[name] as string)
  return bytes
}
