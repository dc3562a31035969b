import { PublishError } from '../../core/errors.ts'
import type { EncodedMessage } from '../../core/message.ts'
import { messageBytes } from '../../core/message.ts'

/** The flat rate for the envelope is ours and must not keep out what just fits. */
const ENVELOPE_ALLOWANCE = 1_024

/** What a real broker would answer to a message over its limit; undefined when it fits. */
export function tooLarge(message: EncodedMessage, maxMessageBytes: number): PublishError | undefined {
  if (message.body.byteLength <= maxMessageBytes && messageBytes(message) <= maxMessageBytes + ENVELOPE_ALLOWANCE)
    return undefined
  return new PublishError(
    `The message for "${message.topic}" has ${messageBytes(message)} bytes, over the limit of ${maxMessageBytes} (maxMessageBytes)`,
    { outcome: 'not-sent' },
  )
}
