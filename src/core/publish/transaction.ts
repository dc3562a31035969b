import type { AnyEventDefinition, EventDefinition } from '../define.ts'
import { ConfigurationError, PublishError, StateError } from '../errors.ts'
import type { OutgoingMessage } from '../message.ts'
import { topicOf } from '../target.ts'
import { describe } from '../util/options-reader.ts'
import { MESSAGE_OPTIONS, refuseBadItem, refuseUnknown, SEND_OPTIONS } from './publish-options.ts'
import type { PublishItem, PublishReceipt, SendOptions } from './publish-options.ts'
import { NO_OPTIONS } from './publish-port.ts'
import type { PublishPort } from './publish-port.ts'
import type { Publisher } from './publisher.ts'
import { StagedMessages } from './staged-messages.ts'

/** Options of one message of a transaction: where it goes, and until when, is said once for all of them. */
export type TransactionPublishOptions = Omit<PublishItem, 'data'>

/** What `bus.transaction` passes to its callback: what is published with it is stored when the callback has succeeded. */
export interface Transaction {
  /** Adds a message to a topic without a definition, so the data is not validated. Otherwise like the overload below. */
  publish(topic: string, data: unknown, options?: TransactionPublishOptions): Promise<PublishReceipt>
  /**
   * Adds a message to the transaction. Resolves when it is validated and encoded; the receipt has no position. Passes the publish
   * middleware, with the mode `encode`. If it rejects, the transaction fails with the same error, even if you catch it. Rejects
   * with a `StateError` after the callback has ended.
   */
  publish<Input, Output>(
    event: EventDefinition<Input, Output>,
    data: NoInfer<Input>,
    options?: TransactionPublishOptions,
  ): Promise<PublishReceipt>
  /** Adds messages to a topic without a definition. Otherwise like the overload below. */
  publishMany(topic: string, items: readonly PublishItem[]): Promise<readonly PublishReceipt[]>
  /** Adds messages to the transaction, as `publish` does. */
  publishMany<Input, Output>(
    event: EventDefinition<Input, Output>,
    items: readonly PublishItem<NoInfer<Input>>[],
  ): Promise<readonly PublishReceipt[]>
}

export interface TransactionParts {
  readonly port: PublishPort
  /** Limit of what one transaction may hold. */
  readonly maxBytes: number
}

/** See `Bus.transaction`. */
export async function runTransaction<Result>(
  parts: TransactionParts,
  work: (tx: Transaction) => Result | Promise<Result>,
  options: SendOptions,
): Promise<Result> {
  if (options !== NO_OPTIONS) refuseUnknown('bus.transaction', options, SEND_OPTIONS)
  if (typeof work !== 'function')
    throw new ConfigurationError('bus.transaction', [
      { path: 'work', message: `must be a function, got ${describe(work)}; write bus.transaction(async (tx) => …)` },
    ])
  const { transport, signal } = options
  const publisher = parts.port.publisher(transport)
  publisher.requireTransactions()
  const staged = new StagedTransaction(parts, publisher.identity.name)
  let result: Result
  try {
    result = await work(staged)
    await staged.finish()
  } finally {
    staged.end()
  }
  // The bus may have been closed meanwhile.
  const { messages } = staged
  if (messages.length > 0) await commit(parts.port.publisher(transport), messages, signal)
  return result
}

/** Keeps the messages of one transaction until its callback has ended. */
class StagedTransaction implements Transaction {
  readonly #port: PublishPort
  readonly #transport: string
  readonly #staged: StagedMessages
  /** Calls that the callback may not have waited for. */
  readonly #adding = new Set<Promise<unknown>>()
  readonly #failures: unknown[] = []

  constructor({ port, maxBytes }: TransactionParts, transport: string) {
    this.#port = port
    this.#transport = transport
    this.#staged = new StagedMessages({ maxBytes, tooMuch, tooLate })
  }

  publish(
    target: string | AnyEventDefinition,
    data: unknown,
    options: TransactionPublishOptions = {},
  ): Promise<PublishReceipt> {
    return this.#noted(this.#add(target, data, options))
  }

  publishMany(target: string | AnyEventDefinition, items: readonly PublishItem[]): Promise<readonly PublishReceipt[]> {
    return this.#noted(this.#addAll(target, items))
  }

  async #addAll(
    target: string | AnyEventDefinition,
    items: readonly PublishItem[],
  ): Promise<readonly PublishReceipt[]> {
    if (!Array.isArray(items))
      throw new ConfigurationError('tx.publishMany', [
        { path: 'items', message: `must be a list of { data, key, ... }, got ${describe(items)}` },
      ])
    return Promise.all(
      items.map((item) => {
        refuseBadItem(item)
        const { data, ...options } = item as PublishItem
        return this.#add(target, data, options)
      }),
    )
  }

  async #add(
    target: string | AnyEventDefinition,
    data: unknown,
    options: TransactionPublishOptions,
  ): Promise<PublishReceipt> {
    refuseUnknown('tx.publish', options, MESSAGE_OPTIONS)
    const toTransport = { ...options, transport: this.#transport }
    return this.#staged.add(this.#transport, topicOf(target), () =>
      this.#port.encode(target, data, toTransport, undefined, 'tx.publish'),
    )
  }

  /** A failure is that of the transaction, which reports it, unless it has ended: its caller need not wait for this one. */
  #noted<Receipts>(adding: Promise<Receipts>): Promise<Receipts> {
    if (this.#staged.isOver) return adding
    const noted: Promise<unknown> = adding
      .catch((error: unknown) => this.#failures.push(error))
      .then(() => this.#adding.delete(noted))
    this.#adding.add(noted)
    return adding
  }

  /** Resolves when all messages are made; rejects if one can't be. */
  async finish(): Promise<void> {
    while (this.#adding.size > 0) await Promise.all(this.#adding)
    await this.#staged.finish()
    if (this.#failures.length > 0) throw this.#failures[0]
  }

  end(): void {
    this.#staged.end()
  }

  get messages(): readonly OutgoingMessage[] {
    return Array.from(this.#staged.made(), ([, message]) => message)
  }
}

function commit(
  publisher: Publisher,
  messages: readonly OutgoingMessage[],
  signal: AbortSignal | undefined,
): Promise<void> {
  return new Promise((resolve, reject) => {
    let open = messages.length
    publisher.sendAtomically(messages, signal, (_index, _position, error) => {
      if (--open > 0) return
      if (error === undefined) resolve()
      else reject(notCommitted(messages, error))
    })
  })
}

function notCommitted(messages: readonly OutgoingMessage[], cause: PublishError): PublishError {
  const { outcome, retryable } = cause
  const topics = [...new Set(messages.map(({ topic }) => `"${topic}"`))]
  const shown = topics.length > 3 ? [...topics.slice(0, 3), '…'] : topics
  const fate =
    outcome === 'not-sent'
      ? 'was not committed: none of its messages is stored'
      : 'may have been committed: either all of its messages are stored, or none'
  const size = messages.length === 1 ? '1 message' : `${messages.length} messages`
  return new PublishError(`The transaction of ${size} (${shown.join(', ')}) ${fate}. ${cause.message}`, {
    outcome,
    retryable,
    cause,
  })
}

function tooLate(topic: string): StateError {
  return new StateError(
    `tx.publish("${topic}") was called after the callback of its transaction had ended: await it there`,
  )
}

function tooMuch(maxBytes: number): string {
  return `A transaction has more than ${maxBytes} bytes (publish.maxBufferedBytes), which are held until it is committed: make several of it`
}
