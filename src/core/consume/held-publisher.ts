import type { ContextPublisher } from './context-publisher.ts'
import type { AnyEventDefinition } from '../define.ts'
import { PublishError, StateError } from '../errors.ts'
import { makeMany, toError } from '../publish/make-many.ts'
import { messageBytes } from '../message.ts'
import type { EncodedMessage, OutgoingMessage } from '../message.ts'
import { NO_OPTIONS } from '../publish/publish-port.ts'
import type { PublishPort } from '../publish/publish-port.ts'
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
  /** Limit of what one attempt may hold. */
  readonly maxBytes: number
  /** Called with the size of each message that is held, and with its negative when the message is dropped before the end. */
  readonly onHeld: (bytes: number) => void
}

/** A message in the order of the calls; undefined while it is being made, or when that failed. */
interface Slot {
  readonly transport: string
  message: OutgoingMessage | undefined
  isDropped: boolean
}

/** Holds what one attempt publishes until its handler has succeeded: see the option `publishOnAck`. */
export class HeldPublisher implements ContextPublisher {
  readonly #parts: HeldPublisherParts
  readonly #slots: Slot[] = []
  /** Messages that are being made; the handler may not have waited for them. */
  readonly #making = new Set<Promise<unknown>>()
  #bytes = 0
  #isOver = false

  constructor(parts: HeldPublisherParts) {
    this.#parts = parts
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
    const { port, transportName } = this.#parts
    if (this.#isOver) return Promise.reject(tooLate(target))
    const transport = options.transport ?? transportName
    const slot: Slot = { transport, message: undefined, isDropped: false }
    this.#slots.push(slot)
    const held = port.encode(target, data, { ...options, transport }, handled).then((message) => {
      this.#hold(slot, message)
      return { id: message.id, position: undefined }
    })
    this.#making.add(held)
    const made = (): boolean => this.#making.delete(held)
    held.then(made, made)
    return held
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

  #hold(slot: Slot, message: OutgoingMessage): void {
    if (this.#isOver) throw tooLate(message.topic)
    if (slot.isDropped) return
    this.#bytes += messageBytes(message)
    if (this.#bytes > this.#parts.maxBytes)
      throw new PublishError(
        `The handler has published more than ${this.#parts.maxBytes} bytes (publish.maxBufferedBytes), which publishOnAck holds until it succeeds`,
        { outcome: 'not-sent' },
      )
    slot.message = message
    this.#parts.onHeld(messageBytes(message))
  }

  /** Number of messages, with those that are being made. */
  get count(): number {
    return this.#slots.length
  }

  /** Drops all messages but the first: the run of the handler that published them has failed. */
  keepFirst(count: number): void {
    for (const slot of this.#slots.splice(count)) {
      slot.isDropped = true
      if (slot.message === undefined) continue
      const bytes = messageBytes(slot.message)
      this.#bytes -= bytes
      this.#parts.onHeld(-bytes)
    }
  }

  /** Nothing is held from now on: the attempt has ended. */
  end(): void {
    this.#isOver = true
  }

  /**
   * The handler has succeeded. Resolves with what is to be stored with the ack; the rest has been confirmed. Throws the first
   * error if some of it was not, and a `StateError` when the delivery is no longer the handler's.
   */
  async finish(isCurrent: () => boolean): Promise<readonly OutgoingMessage[]> {
    // One that fails is its caller's business.
    while (this.#making.size > 0) await Promise.allSettled(this.#making)
    this.#isOver = true
    // Not as a success: the message comes again, and its handler must run again to publish.
    if (!isCurrent()) throw new StateError('The delivery ended before what its handler had published was sent')
    const { port, isAtomic, transportName } = this.#parts
    const withAck: OutgoingMessage[] = []
    const others = new Map<string, OutgoingMessage[]>()
    for (const { transport, message } of this.#slots) {
      if (message === undefined) continue
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

function tooLate(target: string | AnyEventDefinition): StateError {
  const topic = typeof target === 'string' ? target : target.topic
  return new StateError(
    `ctx.publish("${topic}") was called after the handler had ended: with publishOnAck, its messages go out with the ack`,
  )
}
