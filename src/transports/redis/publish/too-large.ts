import { PublishError } from '../../../core/errors.ts'
import type { OutgoingMessage } from '../../../core/message.ts'
import { messageBytes } from '../../../core/message.ts'

/** The error for a message over the limit: nothing of it was sent. */
export function tooLarge(message: OutgoingMessage, limit: number): PublishError {
  return new PublishError(
    `The message for "${message.topic}" has ${messageBytes(message)} bytes; the limit of this transport (maxMessageBytes) is ${limit}. It was not sent.`,
    { outcome: 'not-sent' },
  )
}
