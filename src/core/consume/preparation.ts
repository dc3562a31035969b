import type { AnyEventDefinition } from '../define.ts'
import { ValidationError } from '../errors.ts'
import { eventFinder } from '../event-set.ts'
import type { EventSet } from '../event-set.ts'
import { makeMany } from '../publish/make-many.ts'
import type { EncodedMessage } from '../message.ts'
import type { PendingDelivery } from './pending-delivery.ts'
import { validate } from '../util/validate.ts'
import type { MessageFilter } from '../where/compile-where.ts'

/**
 * Makes the data of a delivery ready for its handler: decodes the body, runs the schema of the consumer's event, and applies the
 * filter `where` to the result: what no handler wants is marked `isUnwanted`, and its runner reports it as succeeded at once. Runs
 * before each attempt, because the handler of an earlier one may have changed the data; never twice for one attempt. All runners
 * use it, so a message that can't be decoded or does not fit fails in the same way everywhere.
 */
export class Preparation {
  /** The event of a message. Throws a `ValidationError` for a message of none. */
  readonly #eventOf: ((message: EncodedMessage) => AnyEventDefinition) | undefined
  readonly #isWanted: MessageFilter['ofData']
  readonly #isNeeded: boolean

  /**
   * `decodesFirst`: the body must be decoded before the handler starts, because a codec is asynchronous. `isWanted`: the part of
   * the filter `where` that needs the data.
   */
  constructor(
    definition: AnyEventDefinition | EventSet | undefined,
    decodesFirst: boolean,
    isWanted?: MessageFilter['ofData'],
  ) {
    this.#isWanted = isWanted
    if (definition !== undefined) this.#eventOf = 'events' in definition ? eventFinder(definition) : () => definition
    this.#isNeeded =
      decodesFirst ||
      isWanted !== undefined ||
      (definition !== undefined && ('events' in definition || definition.schema !== undefined))
  }

  /**
   * Prepares one delivery. Throws, or rejects with, what the delivery fails with. Without a schema and with synchronous codecs
   * there is nothing to do: a handler that never reads `data` does not pay for decoding it.
   */
  run(pending: PendingDelivery): void | Promise<void> {
    if (this.#isNeeded) return this.#prepare(pending)
  }

  /**
   * Prepares all deliveries of a batch, a bounded number at once; bodies are decoded even without a schema, because one that
   * can't be must not throw inside the handler's loop. The result has an error in the place of each delivery that failed; the
   * others of the batch are not affected.
   */
  runAll(deliveries: readonly PendingDelivery[]): (Error | undefined)[] | Promise<(Error | undefined)[]> {
    return makeMany(deliveries, (pending) => this.#prepare(pending) as undefined | Promise<undefined>)
  }

  #prepare(pending: PendingDelivery): void | Promise<void> {
    const decoding = pending.message.decode()
    const ready = decoding === undefined ? this.#validate(pending) : decoding.then(() => this.#validate(pending))
    if (this.#isWanted === undefined) return ready
    return ready instanceof Promise ? ready.then(() => this.#filter(pending)) : this.#filter(pending)
  }

  #filter(pending: PendingDelivery): void {
    const { message } = pending
    pending.isUnwanted = this.#isWanted?.(message.data, message.encoded) === false
  }

  #validate(pending: PendingDelivery): void | Promise<void> {
    if (pending.isValidated || this.#eventOf === undefined) return
    const { message } = pending
    const accept = (output: unknown): void => {
      message.replaceData(output)
      pending.isValidated = true
    }
    const refuse = (error: unknown): never => {
      if (ValidationError.is(error)) message.invalidError = error
      throw error
    }
    let output: unknown
    try {
      const { schema } = this.#eventOf(message.encoded)
      if (schema === undefined) return
      output = validate(schema, message.data, `The data of message ${message.id} on "${message.topic}"`)
    } catch (error) {
      return refuse(error)
    }
    return output instanceof Promise ? output.then(accept, refuse) : accept(output)
  }
}
