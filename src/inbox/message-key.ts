import { createHash } from 'node:crypto'
import type { HandlerContext } from '../core/handler.ts'
import type { Message } from '../core/message.ts'
import type { InboxKey } from './store.ts'

type Identity = Pick<Message, 'id' | 'topic' | 'source'>
type Consumer = Pick<HandlerContext, 'consumer'>

/** Names a message and its consumer. Ids are unique only within a source, and a publisher may use one on two topics. */
export function messageKey(message: Identity, { consumer }: Consumer): InboxKey {
  // Spaces separate the fields; a source is a URI, where a space is written as %20 anyway.
  const source = message.source.replaceAll(' ', '%20')
  return { consumer: `${consumer.group} ${consumer.topic}`, message: `${message.topic} ${source} ${message.id}` }
}

/**
 * A key for calls of other services, such as a payment provider: the same for all attempts and redrives of a message in one consumer,
 * and another one for every other message. Pass a name for each call if a handler makes several.
 *
 *     await stripe.charges.create(charge, { idempotencyKey: idempotencyKey(message, ctx, 'charge') })
 */
export function idempotencyKey(message: Identity, ctx: Consumer, call = ''): string {
  const { consumer, message: id } = messageKey(message, ctx)
  return createHash('sha256')
    .update(JSON.stringify([consumer, id, call]))
    .digest('hex')
}
