import type { Channel, Options } from 'amqplib'
import { ConnectionError } from '../../../core/errors.ts'
import { closeQuietly } from '../connection/amqp.ts'
import { REPLY, replyCode } from '../errors.ts'
import type { LiveConnection } from '../connection/live-connection.ts'
import { isNodeAway } from './places.ts'

/**
 * A channel for declarations. The broker closes a channel on every refusal, so each declaration may cost one; the next
 * one gets a new channel.
 */
export class DeclareChannel {
  readonly #live: LiveConnection
  #last: Promise<unknown> = Promise.resolve()
  #isClosed = false
  #channel: Promise<Channel> | undefined
  /** Resolves with the reason why the current channel ended. */
  #ended: Promise<Error | undefined> | undefined

  constructor(live: LiveConnection) {
    this.#live = live
  }

  get live(): LiveConnection {
    return this.#live
  }

  /** Runs one operation after another: a refusal would end those beside it. Rejects with the broker's refusal. */
  run<Result>(operation: (channel: Channel) => Promise<Result>): Promise<Result> {
    const running = this.#last.then(() => this.#run(operation))
    this.#last = running.catch(() => undefined)
    return running
  }

  async #run<Result>(operation: (channel: Channel) => Promise<Result>): Promise<Result> {
    if (this.#isClosed) throw new ConnectionError('The channel for declarations was closed')
    this.#channel ??= this.#open()
    const [opening, ended] = [this.#channel, this.#ended]
    let channel: Channel
    try {
      channel = await opening
    } catch (error) {
      if (this.#channel === opening) this.#channel = undefined
      throw error
    }
    try {
      return await operation(channel)
    } catch (error) {
      if (replyCode(error) === undefined) throw await this.#refusalBehind(error, ended)
      // A refusal closes the channel a moment after it is reported.
      if (this.#channel === opening) this.#channel = undefined
      throw error
    }
  }

  #open(): Promise<Channel> {
    const { promise, resolve } = Promise.withResolvers<Error | undefined>()
    this.#ended = promise
    const opening = this.#live.channel((error) => {
      if (this.#channel === opening) this.#channel = undefined
      resolve(error)
    })
    return opening
  }

  /**
   * Of several concurrent operations one is refused; for the others the library reports, often first, that the channel
   * ended.
   */
  async #refusalBehind(error: unknown, ended: Promise<Error | undefined> | undefined): Promise<unknown> {
    if (!(error instanceof Error) || !/channel (ended|closed|closing)/i.test(error.message)) return error
    return (await ended) ?? error
  }

  /** False when the broker says that it does not exist. */
  async exists(check: (channel: Channel) => Promise<unknown>): Promise<boolean> {
    try {
      await this.run(check)
      return true
    } catch (error) {
      if (replyCode(error) === REPLY.notFound && !isNodeAway(error)) return false
      throw error
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true
    const opening = this.#channel
    this.#channel = undefined
    await opening?.then(closeQuietly, () => undefined)
  }
}

/**
 * Which argument or property differs (`x-delivery-limit`, `durable`, `alternate-exchange`), from the broker's complaint
 * about a declaration that does not match what exists. AMQP cuts such texts off at 255 bytes, so the end of the text is
 * unreliable.
 */
export function inequivalentArgument(error: unknown): string | undefined {
  if (replyCode(error) !== REPLY.preconditionFailed || !(error instanceof Error)) return undefined
  return /inequivalent arg '([^']+)'/.exec(error.message)?.[1]
}

export interface Drift {
  readonly queue: string
  readonly argument: string
  readonly wanted: unknown
}

/**
 * Declares a queue. An existing queue with other arguments is used as it is, and the differences are returned: an
 * option that was changed later must not keep consumers from their messages. Differences in `vital` arguments are
 * thrown.
 */
export async function declareQueue(
  declaring: DeclareChannel,
  queue: string,
  options: Options.AssertQueue,
  vital: readonly string[],
): Promise<readonly Drift[]> {
  try {
    await declaring.run((channel) => channel.assertQueue(queue, options))
    return []
  } catch (error) {
    const argument = inequivalentArgument(error)
    if (argument === undefined || vital.includes(argument)) throw error
    const wanted = (options.arguments as Record<string, unknown> | undefined)?.[argument]
    await declaring.run((channel) => channel.checkQueue(queue))
    return [{ queue, argument, wanted }]
  }
}
