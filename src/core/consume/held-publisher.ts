import type { ContextPublisher } from './context-publisher.ts'
import type { AnyEventDefinition } from '../define.ts'
import { StateError, UnsupportedError } from '../errors.ts'
import { makeMany, toError } from '../publish/make-many.ts'
import type { EncodedMessage, OutgoingMessage } from '../message.ts'
import { NO_OPTIONS } from '../publish/publish-port.ts'
import type { PublishPort } from '../publish/publish-port.ts'
import { StagedMessages } from '../publish/staged-messages.ts'
import { topicOf } from '../target.ts'
import type {
  PublishItem,
  PublishManyOptions,
  PublishOptions,
  PublishReceipt,
  PublishResult,
} from '../publish/publish-options.ts'

export interface HeldPublisherParts {
  readonly port: PublishPort
  /** Transport that the handled message came from. */
  readonly transportName: string
  /** Whether its messages can be stored with the ack, in one atomic step. */
  readonly isAtomic: boolean
  /** Whether all messages must be: none may go to another transport. */
  readonly isExactlyOnce: boolean
  /** Limit of what one attempt may hold. */
  readonly maxBytes: number
  /** Called with the size of each message that is held, and with its negative when the message is dropped before the end. */
  readonly onHeld: (bytes: number) => void
}

/** Holds what one attempt publishes until its handler has succeeded: see the option `publishOnAck`. */
export class HeldPublisher implements ContextPublisher {
  readonly #parts: HeldPublisherParts
  readonly #staged: StagedMessages

  constructor(parts: HeldPublisherParts) {
    this.#parts = parts
    const { maxBytes, onHeld } = parts
    this.#staged = new StagedMessages({ maxBytes, tooMuch, tooLate, onHeld })
  }

  async publish(
    target: string | AnyEventDefinition,
    data: unknown,
    options: PublishOptions | undefined = NO_OPTIONS,
    handled: EncodedMessage,
  ): Promise<PublishReceipt> {
    // Not the promise that `finish` waits for: that one never counts as unhandled, and its failure would go unnoticed.
    return await this.#add(target, data, options, handled)
  }

  #add(
    target: string | AnyEventDefinition,
    data: unknown,
    options: PublishOptions,
    handled: EncodedMessage,
  ): Promise<PublishReceipt> {
    const { port, transportName, isExactlyOnce } = this.#parts
    const { transport = transportName } = options
    const topic = topicOf(target)
    if (isExactlyOnce && transport !== transportName) return Promise.reject(elsewhere(topic, transport, transportName))
    return this.#staged.add(transport, topic, () =>
      port.encode(target, data, { ...options, transport }, handled, 'ctx.publish'),
    )
  }

  async publishMany(
    target: string | AnyEventDefinition,
    items: readonly PublishItem[],
    options: PublishManyOptions | undefined = {},
    handled: EncodedMessage,
  ): Promise<readonly PublishResult[]> {
    const { allowFailures: _allowFailures, ...shared } = options
    const made = await makeMany(items, ({ data, ...item }) => this.#add(target, data, { ...item, ...shared }, handled))
    return made.map((one, index) => (one instanceof Error ? { id: items[index]?.id ?? '', error: one } : one))
  }

  /** Number of messages, with those that are being made. */
  get count(): number {
    return this.#staged.count
  }

  /** Drops all messages but the first: the run of the handler that published them has failed. */
  keepFirst(count: number): void {
    this.#staged.keepFirst(count)
  }

  /** Nothing is held from now on: the attempt has ended. */
  end(): void {
    this.#staged.end()
  }

  /**
   * The handler has succeeded. Resolves with what is to be stored with the ack; the rest has been confirmed. Throws the first
   * error if some of it was not, and a `StateError` when the delivery is no longer the handler's.
   */
  async finish(isCurrent: () => boolean): Promise<readonly OutgoingMessage[]> {
    // One that fails is its caller's business.
    await this.#staged.finish()
    // Not as a success: the message comes again, and its handler must run again to publish.
    if (!isCurrent()) throw new StateError('The delivery ended before what its handler had published was sent')
    const { port, isAtomic, transportName } = this.#parts
    const withAck: OutgoingMessage[] = []
    const others = new Map<string, OutgoingMessage[]>()
    for (const [transport, message] of this.#staged.made()) {
      if (isAtomic && transport === transportName) withAck.push(message)
      else {
        const messages = others.get(transport)
        if (messages === undefined) others.set(transport, [message])
        else messages.push(message)
      }
    }
    for (const [transport, messages] of others) {
      const failed = (await port.sendEncoded(messages, { transport })).find(({ error }) => error !== undefined)
      if (failed !== undefined) throw toError(failed.error)
    }
    return withAck
  }
}

function tooLate(topic: string): StateError {
  return new StateError(
    `ctx.publish("${topic}") was called after the handler had ended: with publishOnAck, its messages go out with the ack`,
  )
}

function elsewhere(topic: string, transport: string, own: string): UnsupportedError {
  return new UnsupportedError(
    `ctx.publish("${topic}") names the transport "${transport}", but with guarantee: 'exactly-once' a handler publishes to the transport that its message came from ("${own}"): no transaction spans two. Leave the option out, or use bus.publish, which publishes at least once`,
  )
}

function tooMuch(maxBytes: number): string {
  return `The handler has published more than ${maxBytes} bytes (publish.maxBufferedBytes), which publishOnAck holds until it succeeds`
}
