import type { AnyEventDefinition } from '../define.ts'
import type { EncodedMessage, OutgoingMessage } from '../message.ts'
import type { PublishItem, PublishResult } from './publish-options.ts'

/**
 * Wraps publishing: `createBus({ publishMiddleware })`. Called once, in `createBus`; the returned step runs for each call of
 * `bus.publish`, `bus.publishMany`, `ctx.publish`, `ctx.publishMany` and `bus.encode`. A call with many messages is one call, so
 * a middleware costs per call, not per message. `redrive` and `bus.sendEncoded` don't pass it. The first middleware of the list
 * is the outermost.
 *
 *     const tenant: PublishMiddleware = (next) => (call) =>
 *       next({ ...call, items: call.items.map((item) => ({ ...item, headers: { ...item.headers, tenant: currentTenant() } })) })
 *
 * It may
 *
 * - change the items: data, headers, options; or the encoded bytes, with `transform`;
 * - wait before `next`, up to `deliveryTimeoutMs`. Calls for one topic keep their order meanwhile: later ones wait for it;
 * - refuse by throwing: `publish` rejects with that error, and for `publishMany` it is the error of each item;
 * - return results without calling `next`, for messages that it keeps, such as in a database;
 * - call `next` again, to send again. Later calls for the topic may then be ahead of it.
 */
export type PublishMiddleware = (next: PublishStep) => PublishStep

/**
 * One step of publishing. Resolves with one result per item, at the same index. `next` reports a message that was not published
 * as a result with an `error`, and only rejects when a middleware behind it has thrown, or for a call that it can't take.
 */
export type PublishStep = (call: PublishCall) => Promise<readonly PublishResult[]>

/** One call that publishes. Pass it to `next` as it is, or as a copy with other `items`; nothing else may be changed. */
export interface PublishCall {
  readonly topic: string
  /** The definition that was passed, or undefined if it was the name of a topic. */
  readonly event: AnyEventDefinition | undefined
  /** The messages: one with `publish`, any number with `publishMany`. Neither validated nor encoded yet. */
  readonly items: readonly PublishCallItem[]
  /** Name of the transport. */
  readonly transport: string
  readonly signal: AbortSignal | undefined
  /** The message whose handler publishes. Undefined outside of handlers, and in batch handlers. */
  readonly handled: EncodedMessage | undefined
  /** `encode`: the message of `bus.encode`, which is not sent. Its result then confirms nothing. */
  readonly mode: 'send' | 'encode'
}

/** One message of a call. Its id is given or already made, so that it is the same whenever the item is sent. */
export interface PublishCallItem extends PublishItem {
  readonly id: string
  /**
   * Changes the message after it was validated and encoded: compresses or encrypts the body, or stores a large one elsewhere and
   * sends a reference. Returns the message to send, with another `body`, `contentType` or `headers`; id, topic and key stay. A
   * middleware that finds one already there should call it first. What consumers get must have a codec for its content type.
   */
  readonly transform?: ((message: OutgoingMessage) => OutgoingMessage | Promise<OutgoingMessage>) | undefined
}
