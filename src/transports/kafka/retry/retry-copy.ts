import { NO_HEADERS } from '../../../core/message.ts'
import type { EncodedMessage, OutgoingMessage } from '../../../core/message.ts'

/** Of a copy in a retry topic: where its message was, and the attempts that it has used. The bus drops such headers on publish. */
export const RETRY = 'busbar-retry'

/** What a copy says about its message. */
export interface Retried {
  /** In the partition of the source. */
  readonly offset: number
  readonly used: number
}

/** A message with the partition that it goes to. */
export interface PlacedMessage extends OutgoingMessage {
  readonly partition: number
}

/** The message as it is stored in a retry topic. */
export function retryCopy(
  message: EncodedMessage,
  place: { readonly topic: string; readonly partition: number },
  { offset, used }: Retried,
  dueAt: number,
): PlacedMessage {
  const headers = message.headers === NO_HEADERS ? {} : message.headers
  return {
    ...message,
    topic: place.topic,
    partition: place.partition,
    headers: { ...headers, [RETRY]: `${offset}/${used}` },
    deliverAt: Math.ceil(dueAt),
    group: undefined,
  }
}

/** What the header of a copy says; undefined if it does not say that. */
export function readRetry(text: string): Retried | undefined {
  const found = /^(\d{1,15})\/(\d{1,9})$/.exec(text)
  return found === null ? undefined : { offset: Number(found[1]), used: Number(found[2]) }
}
