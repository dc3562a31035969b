import type { Position } from './transport.ts'

/** What a publisher may say about one message. */
export interface PublishOptions {
  /** What must stay in order. Default: the definition's `key`, else none. */
  readonly key?: string | undefined
  /** Names are tokens (letters, digits and `!#$%&'*+-.^_\`|~`), values strings without line breaks or NUL. */
  readonly headers?: Readonly<Record<string, string>> | undefined
  /** Not to be delivered before so many ms from now. */
  readonly delayMs?: number | undefined
  /** Not to be delivered before that instant. */
  readonly deliverAt?: Date | undefined
  /** Dead-lettered instead of handled when it is not handled within so many ms. */
  readonly ttlMs?: number | undefined
  /** Default: a new UUIDv7. Give your own to make a publish idempotent where the broker deduplicates. */
  readonly id?: string | undefined
  /** CloudEvents `type`. Default: the topic. */
  readonly type?: string | undefined
  /** CloudEvents `subject`. */
  readonly subject?: string | undefined
  /** Default: inside a handler the conversation of its message, else the message's own id. */
  readonly correlationId?: string | undefined
  /** Id of the message that caused this one. Default: inside a handler the id of its message. */
  readonly causationId?: string | undefined
  /** W3C trace context. Default: inside a handler that of its message. */
  readonly traceparent?: string | undefined
  /** Goes with `traceparent`. */
  readonly tracestate?: string | undefined
  /** Which of the bus's transports. Default: the first. */
  readonly transport?: string | undefined
  /** Aborts the wait. What may already be with the broker then rejects with outcome `unknown`. */
  readonly signal?: AbortSignal | undefined
}

/** One message of `publishMany`. */
export interface PublishItem<Data = unknown> extends Omit<PublishOptions, 'transport' | 'signal'> {
  readonly data: Data
}

/** What holds for all messages of one `publishMany`. */
export type PublishManyOptions = Pick<PublishOptions, 'transport' | 'signal'>

/** The same inside a handler. */
export interface ContextPublishManyOptions extends PublishManyOptions {
  /**
   * Resolve with the results although some messages were not published. Default false: the call rejects, so that a handler
   * that does not look at the results does not ack its own message.
   */
  readonly allowFailures?: boolean | undefined
}

/** The broker has taken responsibility for the message. */
export interface PublishReceipt {
  readonly id: string
  readonly position: Position | undefined
}

/** Fate of one message of `publishMany`, at the index of its item. */
export type PublishResult =
  | { readonly id: string; readonly position: Position | undefined; readonly error?: undefined }
  | { readonly id: string; readonly position?: undefined; readonly error: Error }
