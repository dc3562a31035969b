import { currentCause, currentlyHandled } from '../causality.ts'
import type { Causality } from '../causality.ts'
import type { Clock } from '../clock.ts'
import { compose } from '../util/compose.ts'
import type { Deadlines } from '../util/deadlines.ts'
import type { AnyEventDefinition } from '../define.ts'
import { ConfigurationError, PublishError, StateError } from '../errors.ts'
import type { BusState } from '../health.ts'
import { andThen, makeMany, toError } from './make-many.ts'
import type { EncodedMessage, OutgoingMessage } from '../message.ts'
import type { MessageFactory } from './message-factory.ts'
import { describe } from '../util/options-reader.ts'
import type { PublishCall, PublishCallItem, PublishMiddleware, PublishStep } from './publish-middleware.ts'
import { PUBLISH_MANY_OPTIONS, PUBLISH_OPTIONS, refuseBadItem, refuseUnknown, SEND_OPTIONS } from './publish-options.ts'
import type {
  PublishItem,
  PublishManyOptions,
  PublishOptions,
  PublishReceipt,
  PublishResult,
  SendOptions,
} from './publish-options.ts'
import { failures, lastStep, PublishRun, runOf } from './publish-run.ts'
import type { Publisher } from './publisher.ts'
import { sendEncoded, sendMany, sendOne } from './send-made.ts'
import type { MadeMany } from './send-made.ts'
import { topicOf } from '../target.ts'

type Target = string | AnyEventDefinition

export const NO_OPTIONS: PublishOptions = Object.freeze({})

export interface PublishPortParts {
  readonly publishers: ReadonlyMap<string, Publisher>
  readonly middleware: readonly PublishMiddleware[]
  readonly factory: MessageFactory
  readonly clock: Clock
  readonly deadlines: Deadlines
  readonly deliveryTimeoutMs: number
  /** Whether a message continues the conversation of the handled one. */
  readonly causality: boolean
  readonly state: () => BusState
}

/**
 * The publishing side of a bus. Messages that are made at once, without middleware, go straight to the publisher; all others
 * take a `PublishRun`.
 */
export class PublishPort {
  readonly #parts: PublishPortParts
  readonly #defaultTransport: string
  /** All middleware around the last step; undefined without middleware. */
  readonly #chain: PublishStep | undefined

  constructor(parts: PublishPortParts) {
    this.#parts = parts
    this.#defaultTransport = parts.publishers.keys().next().value as string
    this.#chain = parts.middleware.length === 0 ? undefined : composeChain(parts.middleware)
  }

  /** `handled` is the message whose context publishes; undefined when it is the bus that publishes. */
  publish(
    target: Target,
    data: unknown,
    options: PublishOptions,
    transport: string | undefined,
    handled: EncodedMessage | undefined,
  ): Promise<PublishReceipt> {
    return new Promise((resolve, reject) => {
      if (options !== NO_OPTIONS) refuseUnknown('publish', options, PUBLISH_OPTIONS)
      const { signal } = options
      const publisher = this.publisher(transport)
      const topic = topicOf(target)
      if (this.#chain !== undefined) {
        const run = this.#run(this.#chain, target, [itemOf(data, options)], {
          transport,
          signal,
          handled,
          mode: 'send',
        })
        run.results.then(([result]) => settle(result, resolve, reject), reject)
        return
      }
      const { factory } = this.#parts
      const made = andThen(
        factory.make(target, data, options, this.#parent(handled), publisher.hasTombstones),
        publisher.accept,
      )
      if (!(made instanceof Promise) && !publisher.sequence.isBusy(topic))
        return sendOne(publisher, made, signal, undefined, resolve, reject)
      const making =
        made instanceof Promise
          ? made.then(
              (message) => [message],
              (error: unknown) => [toError(error)],
            )
          : [made]
      this.#sendMade(target, [options as PublishItem], making, { transport, signal, handled, mode: 'send' }).then(
        ([result]) => settle(result, resolve, reject),
        reject,
      )
    })
  }

  async publishMany(
    target: Target,
    items: readonly PublishItem[],
    options: PublishManyOptions,
    transport: string | undefined,
    handled: EncodedMessage | undefined,
  ): Promise<readonly PublishResult[]> {
    if (options !== NO_OPTIONS) refuseUnknown('publishMany', options, PUBLISH_MANY_OPTIONS)
    const publisher = this.publisher(transport)
    if (!Array.isArray(items))
      throw new ConfigurationError('bus.publishMany', [
        { path: 'items', message: `must be a list of { data, key, ... }, got ${describe(items)}` },
      ])
    const topic = topicOf(target)
    if (items.length === 0) return []
    const { signal } = options
    const origin: Origin = { transport, signal, handled, mode: 'send' }
    if (this.#chain !== undefined) {
      const run = this.#run(this.#chain, target, items, origin)
      return run.results.catch((error: unknown) => failures(run.items, error))
    }
    const { factory, clock } = this.#parts
    const { hasTombstones, accept } = publisher
    const now = clock.now()
    const parent = this.#parent(handled)
    const made = makeMany(items, (item) => {
      refuseBadItem(item)
      return andThen(factory.make(target, item.data, item, parent, hasTombstones, now), accept)
    })
    if (!(made instanceof Promise) && !publisher.sequence.isBusy(topic))
      return new Promise((resolve) => sendMany(publisher, items, made, signal, undefined, resolve))
    return this.#sendMade(target, items, made, origin).catch((error: unknown) => failures(items, error))
  }

  /** `call`: its name in errors. */
  async encode(
    target: Target,
    data: unknown,
    options: PublishOptions,
    handled: EncodedMessage | undefined,
    call: 'bus.encode' | 'ctx.publish' | 'tx.publish',
  ): Promise<OutgoingMessage> {
    if (options !== NO_OPTIONS) refuseUnknown(call, options, PUBLISH_OPTIONS)
    const { factory, state } = this.#parts
    if (state() === 'closed') throw new StateError('The bus is closed: nothing can be encoded any more')
    const { transport, signal } = options
    const origin: Origin = { transport, signal, handled, mode: 'encode' }
    if (this.#chain !== undefined)
      return this.#encoded(target, call, this.#run(this.#chain, target, [itemOf(data, options)], origin))
    const { hasTombstones, accept } = this.#publisherNamed(transport ?? this.#defaultTransport)
    const made = andThen(factory.make(target, data, options, this.#parent(handled), hasTombstones), accept)
    if (!(made instanceof Promise) && signal?.aborted !== true) return made
    const making = Promise.resolve(made).then(
      (message) => [message],
      (error: unknown) => [toError(error)],
    )
    const items = [options as PublishItem]
    const run = this.#newRun(target, items, origin, 0)
    return this.#encoded(target, call, { run, results: run.run(() => run.encodeMade(items, making)) })
  }

  async #encoded(
    target: Target,
    call: string,
    { run, results }: { readonly run: PublishRun; readonly results: Promise<readonly PublishResult[]> },
  ): Promise<OutgoingMessage> {
    const [result] = await results
    if (result?.error !== undefined) throw result.error
    const message = run.encoded(result?.id ?? '')
    if (message !== undefined) return message
    throw new PublishError(
      `${call}("${topicOf(target)}") has no message: a publish middleware returned a result without calling next. With mode: 'encode' it must call next or throw`,
      { outcome: 'not-sent' },
    )
  }

  async sendEncoded(messages: readonly OutgoingMessage[], options: SendOptions): Promise<readonly PublishResult[]> {
    if (options !== NO_OPTIONS) refuseUnknown('bus.sendEncoded', options, SEND_OPTIONS)
    const publisher = this.publisher(options.transport)
    if (!Array.isArray(messages))
      throw new ConfigurationError('bus.sendEncoded', [
        { path: 'messages', message: `must be a list of encoded messages, got ${describe(messages)}` },
      ])
    return sendEncoded(publisher, messages, options.signal)
  }

  /** The publisher of a transport (default: the first). Throws unless the bus is open. */
  publisher(transport: string | undefined): Publisher {
    const state = this.#parts.state()
    if (state === 'idle' || state === 'starting')
      throw new StateError('The bus is not started: await bus.start() before you publish')
    if (state === 'closed') throw new StateError('The bus is closed: nothing can be published any more')
    return this.#publisherNamed(transport ?? this.#defaultTransport)
  }

  #publisherNamed(name: string): Publisher {
    const publisher = this.#parts.publishers.get(name)
    if (publisher === undefined) throw noTransport(name, this.#parts.publishers.keys())
    return publisher
  }

  #parent(handled: EncodedMessage | undefined): Causality | undefined {
    return handled ?? (this.#parts.causality ? currentCause() : undefined)
  }

  /** Runs a chain. The items get their ids before, so that the middleware can see them. */
  #run(
    chain: PublishStep,
    target: Target,
    given: readonly PublishItem[],
    origin: Origin,
  ): { run: PublishRun; items: readonly PublishItem[]; results: Promise<readonly PublishResult[]> } {
    const { factory, clock } = this.#parts
    const now = clock.now()
    const items = given.map((item) =>
      // Anything else is refused when its message is made.
      typeof item === 'object' && item !== null ? { ...item, id: item.id ?? factory.nextId(now) } : item,
    )
    const run = this.#newRun(target, items, origin, now)
    return { run, items, results: run.run(chain) }
  }

  #sendMade(
    target: Target,
    items: readonly PublishItem[],
    made: MadeMany,
    origin: Origin,
  ): Promise<readonly PublishResult[]> {
    const run = this.#newRun(target, items, origin, 0)
    return run.run(() => run.sendMade(items, made))
  }

  #newRun(target: Target, items: readonly PublishItem[], origin: Origin, now: number): PublishRun {
    const { factory, clock, deadlines, deliveryTimeoutMs: timeoutMs, causality } = this.#parts
    const { transport = this.#defaultTransport, signal, handled, mode } = origin
    const publisher = this.#publisherNamed(transport)
    return new PublishRun(
      { publisher, factory, clock, deadlines, timeoutMs, parent: this.#parent(handled), now },
      {
        topic: topicOf(target),
        event: typeof target === 'string' ? undefined : target,
        items: items as readonly PublishCallItem[],
        transport,
        signal,
        handled: handled ?? (causality ? currentlyHandled() : undefined),
        mode,
      },
    )
  }
}

/** Where a call comes from, and where it goes. */
interface Origin extends Pick<PublishCall, 'signal' | 'handled' | 'mode'> {
  readonly transport: string | undefined
}

function composeChain(middleware: readonly PublishMiddleware[]): PublishStep {
  return compose(
    {
      subject: 'createBus',
      option: 'publishMiddleware',
      returns: 'a step, (call) => next(call)',
    },
    middleware,
    lastStep,
    checked,
  )
}

/** A middleware must not confirm messages by accident: checks that it returns a result for each item. */
function checked(step: PublishStep, name: string): PublishStep {
  return async (call) => {
    const run = runOf(call)
    const results: unknown = await step(call)
    const problem = problemOf(results, call.items.length)
    if (problem !== undefined) throw run.wrongResults(name, problem)
    return results as readonly PublishResult[]
  }
}

function problemOf(results: unknown, count: number): string | undefined {
  if (!Array.isArray(results)) return `returned ${describe(results)}`
  if (results.length !== count) return `returned ${results.length} results for ${count} items`
  for (let index = 0; index < count; index++) {
    const { id, error } = (results[index] ?? {}) as { id?: unknown; error?: unknown }
    if (typeof id !== 'string') return `result ${index} has no id`
    if (error !== undefined && !(error instanceof Error)) return `the error of result ${index} is not an Error`
  }
  return undefined
}

function itemOf(data: unknown, options: PublishOptions): PublishItem {
  if (options === NO_OPTIONS) return { data }
  const { transport: _transport, signal: _signal, ...ofMessage } = options
  return { ...ofMessage, data }
}

function settle(
  result: PublishResult | undefined,
  resolve: (receipt: PublishReceipt) => void,
  reject: (error: unknown) => void,
): void {
  if (result?.error === undefined) resolve(result as PublishReceipt)
  else reject(result.error)
}

export function noTransport(name: string | undefined, known: Iterable<string>): ConfigurationError {
  return new ConfigurationError('The call', [{ path: 'transport', message: noSuchTransport(name, known) }])
}

export function noSuchTransport(name: string | undefined, known: Iterable<string>): string {
  const names = [...known].map((each) => `"${each}"`).join(', ')
  return `there is no transport "${String(name)}" in this bus; there are: ${names}`
}
