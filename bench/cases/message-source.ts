import { defineEvent } from 'busbar'
import type { EventDefinition, Message, PublishItem } from 'busbar'
import type { CaseArguments } from '../harness/case-arguments.ts'
import { makeBodies, makeOrders } from '../harness/payload.ts'
import type { Order } from '../harness/payload.ts'

/** What a case publishes, and how its handler reads it: JSON orders, or bytes that nobody decodes. */
export interface MessageSource {
  readonly event: EventDefinition
  /** As many as one batch, published again and again. */
  readonly items: readonly PublishItem[]
  /** Touches the data as a handler would: for JSON that is where the decoding happens. */
  readonly read: (message: Message) => number
}

export function makeMessageSource(args: CaseArguments, topic: string): MessageSource {
  const batch = args.number('batch', 1_000)
  const bytes = args.number('bytes', 100)
  const keys = args.number('keys', 0)
  const keyOf = (index: number): string | undefined => (keys > 0 ? `key-${index % keys}` : undefined)
  if (args.option('body', 'json') === 'bytes') {
    return {
      event: defineEvent<unknown>(topic),
      items: makeBodies(batch, bytes).map((data, index) => ({ data, key: keyOf(index) })),
      read: (message) => (message.data as Uint8Array).byteLength,
    }
  }
  return {
    event: defineEvent<unknown>(topic),
    items: makeOrders(batch, bytes).map((data, index) => ({ data, key: keyOf(index) })),
    read: (message) => (message.data as Order).total,
  }
}
