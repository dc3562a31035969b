import { randomBytes } from 'node:crypto'
import type { ContextPublisher } from './attempt.ts'
import { resolveBusOptions } from './bus-options.ts'
import type { ResolvedBusOptions } from './bus-options.ts'
import type {
  Bus,
  BusOptions,
  BusState,
  ConsumerHandle,
  ConsumerHealth,
  DeadLetters,
  HealthReport,
} from './bus-types.ts'
import { checkCapabilities } from './check-capabilities.ts'
import { CodecRegistry } from './codec.ts'
import { groupProblem, resolveConsumeOptions } from './consume-options.ts'
import type { BatchConsumeOptions, ConsumeOptions } from './consume-options.ts'
import { Consumer } from './consumer.ts'
import { deadLettersOf } from './dead-letters.ts'
import { Deadlines } from './deadlines.ts'
import type { AnyConsumerDefinition, AnyEventDefinition } from './define.ts'
import { ConfigurationError, StateError, UnsupportedError } from './errors.ts'
import { BusEvents } from './events.ts'
import type { BatchHandler, Handler } from './handler.ts'
import type { EncodedMessage, OutgoingMessage } from './message.ts'
import { compose } from './middleware.ts'
import { OptionsReader } from './options.ts'
import { OutgoingFactory } from './outgoing.ts'
import type { PublishItem, PublishOptions, PublishReceipt, PublishResult } from './publish-options.ts'
import { Publisher } from './publisher.ts'
import { broadcastGroup, normalizePattern, patternsOverlap, topicProblem } from './topic.ts'
import type { Transport, TransportAdmin } from './transport.ts'

/**
 * Makes a bus. Nothing is opened before `start()`.
 *
 *     const bus = createBus({ service: 'billing', transport: sqlite({ path: './busbar.db' }) })
 *
 * Throws `ConfigurationError` with every problem of the options.
 */
export function createBus(options: BusOptions): Bus {
  const bus = new BusImpl(resolveBusOptions(options))
  for (const definition of bus.options.consumers) bus.consume(definition)
  return bus
}

const NO_OPTIONS: PublishOptions = Object.freeze({})
const HEALTHY: ReadonlySet<ConsumerHealth['status']> = new Set(['ok', 'paused', 'standby', 'draining'])

class BusImpl implements Bus {
  readonly options: ResolvedBusOptions
  readonly events: BusEvents
  readonly #codecs: CodecRegistry
  readonly #deadlines: Deadlines
  readonly #factory: OutgoingFactory
  readonly #publishers: ReadonlyMap<string, Publisher>
  readonly #consumers: Consumer[] = []
  readonly #instanceId = randomBytes(6).toString('hex')
  readonly #defaultTransport: string
  /** How handlers publish: with the message that they handle. */
  readonly #fromHandler: ContextPublisher = {
    publish: (target, data, options, parent) => this.#publish(target, data, options ?? NO_OPTIONS, parent),
    publishMany: (target, items, options, parent) => this.#publishMany(target, items, options ?? NO_OPTIONS, parent),
  }
  #state: BusState = 'idle'
  #starting: Promise<void> | undefined
  #closing: Promise<void> | undefined

  constructor(options: ResolvedBusOptions) {
    this.options = options
    this.events = new BusEvents(options.logger)
    this.#codecs = new CodecRegistry(options.codecs)
    this.#deadlines = new Deadlines(options.clock)
    this.#factory = new OutgoingFactory(options.service, this.#codecs, options.clock)
    this.#defaultTransport = options.transports.keys().next().value as string
    const { clock, publish } = options
    this.#publishers = new Map(
      [...options.transports].map(([name, transport]) => [
        name,
        new Publisher({ name, transport, options: publish, clock, events: this.events, deadlines: this.#deadlines }),
      ]),
    )
  }

  get service(): string {
    return this.options.service
  }

  get state(): BusState {
    return this.#state
  }

  // --- publish -----------------------------------------------------------------------------------------------------

  publish(
    target: string | AnyEventDefinition,
    data: unknown,
    options: PublishOptions = NO_OPTIONS,
  ): Promise<PublishReceipt> {
    return this.#publish(target, data, options, undefined)
  }

  publishMany(
    target: string | AnyEventDefinition,
    items: readonly PublishItem[],
    options: Pick<PublishOptions, 'transport' | 'signal'> = NO_OPTIONS,
  ): Promise<readonly PublishResult[]> {
    return this.#publishMany(target, items, options, undefined)
  }

  #publish(
    target: string | AnyEventDefinition,
    data: unknown,
    options: PublishOptions,
    parent: EncodedMessage | undefined,
  ): Promise<PublishReceipt> {
    return new Promise((resolve, reject) => {
      const publisher = this.#publisher(options.transport)
      const made = this.#factory.make(target, data, options, parent)
      const send = (message: OutgoingMessage): void => {
        publisher.check(message)
        publisher.send([message], options.signal, (_index, position, error) => {
          if (error === undefined) resolve({ id: message.id, position })
          else reject(error)
        })
      }
      if (made instanceof Promise) made.then(send).catch(reject)
      else send(made)
    })
  }

  async #publishMany(
    target: string | AnyEventDefinition,
    items: readonly PublishItem[],
    { transport, signal }: Pick<PublishOptions, 'transport' | 'signal'>,
    parent: EncodedMessage | undefined,
  ): Promise<readonly PublishResult[]> {
    const publisher = this.#publisher(transport)
    const results: PublishResult[] = Array.from({ length: items.length })
    const messages: OutgoingMessage[] = []
    /** Where the message at that place of `messages` stands among the items; only kept when some item fell out. */
    let indexes: number[] | undefined
    const now = this.options.clock.now()
    for (let index = 0; index < items.length; index++) {
      const item = items[index] as PublishItem
      try {
        const made = this.#factory.make(target, item.data, item, parent, now)
        const message = made instanceof Promise ? await made : made
        publisher.check(message)
        messages.push(message)
        indexes?.push(index)
      } catch (error) {
        indexes ??= messages.map((_, at) => at)
        results[index] = { id: item.id ?? '', error: error instanceof Error ? error : new Error(String(error)) }
      }
    }
    if (messages.length === 0) return results
    return new Promise((resolve) => {
      let open = messages.length
      publisher.send(messages, signal, (at, position, error) => {
        const { id } = messages[at] as OutgoingMessage
        results[indexes === undefined ? at : (indexes[at] as number)] =
          error === undefined ? { id, position } : { id, error }
        if (--open === 0) resolve(results)
      })
    })
  }

  #publisher(name: string | undefined): Publisher {
    if (this.#state === 'idle' || this.#state === 'starting')
      throw new StateError('The bus is not started: await bus.start() before you publish')
    if (this.#state === 'closed') throw new StateError('The bus is closed: nothing can be published any more')
    const publisher = this.#publishers.get(name ?? this.#defaultTransport)
    if (publisher === undefined) throw this.#noTransport(name)
    return publisher
  }

  // --- consume -----------------------------------------------------------------------------------------------------

  consume(
    target: string | AnyEventDefinition | AnyConsumerDefinition,
    handler?: Handler<never> | BatchHandler<never>,
    options: ConsumeOptions | BatchConsumeOptions = {},
  ): ConsumerHandle {
    if (this.#state === 'draining' || this.#state === 'closed')
      throw new StateError('The bus is closed: no consumer can be added')
    const consumer = isConsumerDefinition(target)
      ? this.#fromDefinition(target)
      : this.#makeConsumer(target, handler, options, 'bus.consume')
    this.#refuseOverlap(consumer)
    this.#consumers.push(consumer)
    if (this.#state === 'running') {
      consumer.start().catch((error: unknown) => {
        this.events.emit('error', {
          transport: consumer.transportName,
          error,
          doing: `subscribing group "${consumer.group}" to "${consumer.topic}"`,
        })
      })
    }
    return consumer
  }

  #fromDefinition(definition: AnyConsumerDefinition): Consumer {
    const { topic, handle, handleBatch, ...options } = definition
    const subject = `The consumer of "${typeof topic === 'string' ? topic : topic.topic}"`
    if ((handle === undefined) === (handleBatch === undefined)) {
      throw new ConfigurationError(subject, [
        { path: 'handle', message: 'either handle or handleBatch is required, not both' },
      ])
    }
    if (handleBatch !== undefined && options.batch === undefined) {
      throw new ConfigurationError(subject, [
        { path: 'batch', message: 'is required with handleBatch, for example { size: 100 }' },
      ])
    }
    if (handle !== undefined && options.batch !== undefined)
      throw new ConfigurationError(subject, [{ path: 'batch', message: 'needs handleBatch instead of handle' }])
    return this.#makeConsumer(topic, handle ?? handleBatch, options, subject)
  }

  #makeConsumer(
    target: string | AnyEventDefinition,
    handler: Handler<never> | BatchHandler<never> | undefined,
    given: object,
    subject: string,
  ): Consumer {
    const definition = typeof target === 'string' ? undefined : target
    const topic = normalizePattern(typeof target === 'string' ? target : target.topic)
    const reader = new OptionsReader(`${subject}("${topic.slice(0, 60)}")`, given)
    const problem = topicProblem(topic, true)
    if (problem !== undefined) reader.problem('topic', problem)
    if (typeof handler !== 'function') reader.problem('handler', 'must be a function')
    const options = resolveConsumeOptions(reader)
    if (options.broadcast && options.group !== undefined)
      reader.problem('group', 'has no meaning with broadcast: every instance is a group of its own')
    const transportName = options.transport ?? this.#defaultTransport
    if (!this.options.transports.has(transportName))
      reader.problem('transport', this.#noTransport(transportName).message)
    reader.done()
    const transport = this.#transport(transportName)
    const from = checkCapabilities(transport, topic, options)
    const consumerId = `${this.options.service}.${this.#instanceId}.${this.#consumers.length}`
    return new Consumer({
      transportName,
      transport,
      topic,
      group: options.broadcast
        ? `${this.options.service}-${this.#instanceId}-${this.#consumers.length}`
        : (options.group ?? this.options.service),
      consumerId,
      // Of instances that come and go, all dead letters lie in one place.
      deadLetterGroup: options.broadcast
        ? broadcastGroup(this.options.service)
        : (options.group ?? this.options.service),
      from,
      definition,
      handler:
        options.batch === undefined
          ? compose([...this.options.middleware, ...options.middleware], handler as unknown as Handler)
          : (handler as unknown as BatchHandler),
      options,
      codecs: this.#codecs,
      clock: this.options.clock,
      deadlines: this.#deadlines,
      events: this.events,
      publisher: this.#fromHandler,
    })
  }

  #refuseOverlap(consumer: Consumer): void {
    for (const other of this.#consumers) {
      if (other.hasEnded || other.transportName !== consumer.transportName || other.group !== consumer.group) continue
      if (!patternsOverlap(other.topic, consumer.topic)) continue
      throw new ConfigurationError(`The consumer of "${consumer.topic}"`, [
        {
          path: 'group',
          message: `"${consumer.group}" has a consumer of "${other.topic}" on this bus already: each message would reach one of the two, at random. Give each its own group, or raise concurrency`,
        },
      ])
    }
  }

  // --- lifecycle ---------------------------------------------------------------------------------------------------

  start(): Promise<void> {
    if (this.#state === 'draining' || this.#state === 'closed')
      return Promise.reject(new StateError('The bus is closed: make a new one'))
    this.#starting ??= this.#start()
    return this.#starting
  }

  async #start(): Promise<void> {
    this.#state = 'starting'
    const { service, clock, logger, transports } = this.options
    try {
      await allOrFirstError(
        [...transports].map(([name, transport]) =>
          transport.open({ service, instanceId: this.#instanceId, clock, events: this.events, logger, name }),
        ),
      )
      // A handler may publish from its very first message on.
      if (this.#state === 'starting') this.#state = 'running'
      await allOrFirstError(this.#consumers.map((consumer) => consumer.start()))
      if (this.state !== 'running') throw new StateError('The bus was closed while it was starting')
    } catch (error) {
      await this.close({ timeoutMs: 0 }).catch((closeError: unknown) =>
        logger.error({ err: closeError }, 'closing after a failed start failed too'),
      )
      throw error
    }
  }

  close(options: { readonly timeoutMs?: number | undefined } = {}): Promise<void> {
    this.#closing ??= this.#close(options.timeoutMs ?? this.options.closeTimeoutMs)
    return this.#closing
  }

  async #close(timeoutMs: number): Promise<void> {
    const { clock, transports } = this.options
    const endsAt = clock.monotonic() + timeoutMs
    if (this.#state !== 'idle') this.#state = 'draining'
    let timer: { cancel(): void } | undefined
    const deadline = new Promise<void>((resolve) => {
      if (timeoutMs <= 0) resolve()
      else timer = clock.setTimer(timeoutMs, resolve)
    })
    const errors: unknown[] = []
    const note = (results: readonly PromiseSettledResult<unknown>[]): void => {
      for (const result of results) if (result.status === 'rejected') errors.push(result.reason)
    }
    note(await Promise.allSettled(this.#consumers.map((consumer) => consumer.closeWithin(deadline))))
    await Promise.race([Promise.all([...this.#publishers.values()].map((publisher) => publisher.flush())), deadline])
    this.#state = 'closed'
    for (const publisher of this.#publishers.values()) publisher.close()
    // Transports get a moment of their own even when the handlers have used up the time.
    const deadlineMs = Math.max(1_000, endsAt - clock.monotonic())
    note(await Promise.allSettled([...transports.values()].map((transport) => transport.close({ deadlineMs }))))
    timer?.cancel()
    this.#deadlines.close()
    if (errors.length > 0)
      throw errors.length === 1
        ? errors[0]
        : new AggregateError(errors, `Closing the bus failed in ${errors.length} places`)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async health(): Promise<HealthReport> {
    const transports = Object.fromEntries(
      [...this.options.transports].map(([name, transport]) => {
        const { connected, detail } = transport.health()
        return [name, { system: transport.system, connected, detail }]
      }),
    )
    const consumers = this.#consumers
      .filter((consumer) => !consumer.closed || this.#state === 'closed')
      .map((consumer) => consumer.health())
    const healthy =
      this.#state === 'running' &&
      Object.values(transports).every(({ connected }) => connected) &&
      consumers.every(({ status }) => HEALTHY.has(status))
    return { status: healthy ? 'ok' : 'down', state: this.#state, transports, consumers }
  }

  // --- looking after -----------------------------------------------------------------------------------------------

  deadLetters(
    topic: string | AnyEventDefinition,
    group: string = this.options.service,
    options: { readonly transport?: string | undefined } = {},
  ): DeadLetters {
    const name = typeof topic === 'string' ? topic : topic.topic
    const problem = topicProblem(name, false)
    const problems = problem === undefined ? [] : [{ path: 'topic', message: problem }]
    if (groupProblem(group) !== undefined) problems.push({ path: 'group', message: groupProblem(group) ?? '' })
    if (problems.length > 0) throw new ConfigurationError('bus.deadLetters', problems)
    const transportName = options.transport ?? this.#defaultTransport
    return deadLettersOf({
      topic: name,
      group,
      transportName,
      admin: this.admin(transportName),
      publisher: this.#publisher(transportName),
      clock: this.options.clock,
      events: this.events,
    })
  }

  admin(name?: string): TransportAdmin {
    const { admin, system } = this.#transport(name)
    if (admin === undefined) throw new UnsupportedError(`${system} has no admin side`)
    return admin
  }

  #transport(name: string | undefined): Transport {
    const transport = this.options.transports.get(name ?? this.#defaultTransport)
    if (transport === undefined) throw this.#noTransport(name)
    return transport
  }

  #noTransport(name: string | undefined): ConfigurationError {
    const names = [...this.options.transports.keys()].map((known) => `"${known}"`).join(', ')
    return new ConfigurationError('The call', [
      { path: 'transport', message: `there is no transport "${String(name)}" in this bus; there are: ${names}` },
    ])
  }
}

function isConsumerDefinition(target: unknown): target is AnyConsumerDefinition {
  return typeof target === 'object' && target !== null && ('handle' in target || 'handleBatch' in target)
}

/** Waits for all, so that nothing is left half-open behind a first error. */
async function allOrFirstError(promises: readonly Promise<unknown>[]): Promise<void> {
  const results = await Promise.allSettled(promises)
  for (const result of results) if (result.status === 'rejected') throw result.reason
}
