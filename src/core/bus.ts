// Longer than most files: all calls of a bus, and the order in which its parts start and close.
import { randomBytes } from 'node:crypto'
import { refuseToWait } from './bus-consumer.ts'
import type { BusConsumer } from './bus-consumer.ts'
import { resolveBusOptions } from './bus-options.ts'
import type { ResolvedBusOptions } from './bus-options.ts'
import type {
  Bus,
  BusExtension,
  BusOptions,
  CloseOptions,
  ConsumerHandle,
  DeadLetters,
  StartOptions,
} from './bus-types.ts'
import { BusTransports } from './bus-transports.ts'
import { holdsUpCloseOf, runWithin } from './causality.ts'
import type { CausalityContext } from './causality.ts'
import { CloseDeadline } from './util/close-deadline.ts'
import { CodecRegistry } from './codec.ts'
import { groupProblem } from './consume/consume-options.ts'
import { ConsumerFactory } from './consumer-factory.ts'
import type { ConsumeTarget } from './consumer-factory.ts'
import { ConsumerRegistry } from './consumer-registry.ts'
import type { BatchConsumeOptions, ConsumeOptions } from './consume/consume-options.ts'
import { deadLettersOf } from './dead-letters/dead-letters.ts'
import { Deadlines } from './util/deadlines.ts'
import type { AnyEventDefinition } from './define.ts'
import type { AnyConsumerDefinition } from './define-consumer.ts'
import type { Clock } from './clock.ts'
import { ConfigurationError, StateError, UnsupportedError } from './errors.ts'
import { logEvents } from './event-log.ts'
import { BusEvents } from './events.ts'
import { Extensions } from './extensions.ts'
import type { BatchHandler, Handler } from './handler.ts'
import { healthReport } from './health.ts'
import type { BusState, HealthReport } from './health.ts'
import type { OutgoingMessage } from './message.ts'
import { allPublished } from './publish/all-published.ts'
import { checkConversation, MessageFactory } from './publish/message-factory.ts'
import { requireNode } from './util/node-version.ts'
import { waitsForStart } from './util/not-started.ts'
import { OptionsReader, readTimeout } from './util/options-reader.ts'
import { CONVERSATION, refuseUnknown } from './publish/publish-options.ts'
import type {
  PublishItem,
  PublishManyOptions,
  PublishOptions,
  PublishReceipt,
  PublishResult,
  SendOptions,
} from './publish/publish-options.ts'
import { observerProblem, Observers } from './observers.ts'
import type { BusObserver } from './observers.ts'
import { NO_OPTIONS, PublishPort } from './publish/publish-port.ts'
import { Publisher } from './publish/publisher.ts'
import { runTransaction } from './publish/transaction.ts'
import type { Transaction } from './publish/transaction.ts'
import type { RunnerFactory } from './consume/runner-factory.ts'
import { busSnapshot } from './snapshot.ts'
import type { BusSnapshot } from './snapshot.ts'
import { isConsumerDefinition, targetProblem, topicOf } from './target.ts'
import { topicProblem } from './topic.ts'
import type { TransportAdmin } from './transport.ts'

/**
 * Creates a bus. Opens nothing before `start()`.
 *
 *     const bus = createBus({ service: 'billing', transport: sqlite({ path: './busbar.db' }) })
 *     bus.consume(OrderPlaced, async (message) => charge(message.data))
 *     await bus.start()
 *     await bus.publish(OrderPlaced, { orderId: 'ord-1', total: 42 })
 *     await bus.close()
 *
 * Throws one `ConfigurationError` that lists every problem of the options, and `UnsupportedError` on a Node that is too old.
 */
export function createBus(options: BusOptions): Bus {
  requireNode()
  const bus = new BusImpl(resolveBusOptions(options))
  for (const definition of bus.options.consumers) bus.consume(definition)
  return bus
}

/**
 * @internal Adds a consumer whose deliveries a runner of the caller handles: for features of this package with handlers of
 * another kind. The middleware and the causality of the bus are for handlers, so they don't apply.
 */
export function consumeWith(
  bus: Bus,
  target: ConsumeTarget,
  makeRunner: RunnerFactory,
  options: ConsumeOptions = {},
): ConsumerHandle {
  if (bus instanceof BusImpl) return bus.consumeWith(target, makeRunner, options)
  throw new StateError('The bus was not made by createBus() of this package: is a second copy of busbar installed?')
}

/** @internal The clock of a bus, for features of this package. */
export function clockOf(bus: Bus): Clock {
  if (bus instanceof BusImpl) return bus.options.clock
  throw new StateError('The bus was not made by createBus() of this package: is a second copy of busbar installed?')
}

class BusImpl implements Bus {
  readonly options: ResolvedBusOptions
  readonly events: BusEvents
  readonly #codecs: CodecRegistry
  readonly #deadlines: Deadlines
  readonly #observers: Observers
  readonly #port: PublishPort
  readonly #publishers: ReadonlyMap<string, Publisher>
  readonly #consumers = new ConsumerRegistry()
  readonly #factory: ConsumerFactory
  readonly #extensions: Extensions
  readonly #instanceId = randomBytes(6).toString('hex')
  readonly #transports: BusTransports
  readonly #endLog: () => void
  /** Aborts when the bus starts to close: nothing is retried after that. */
  readonly #lifetime = new AbortController()
  #startedAt: number | undefined
  #state: BusState = 'idle'
  #endWaitForStart: (() => void) | undefined
  #starting: Promise<void> | undefined
  #closing: { readonly done: Promise<void>; readonly deadline: CloseDeadline } | undefined

  constructor(options: ResolvedBusOptions) {
    this.options = options
    const { service, transports, codecs, clock, publish, checkWire, logger } = options
    this.events = new BusEvents(logger)
    this.#endLog = logEvents(this.events, logger, clock)
    this.#codecs = new CodecRegistry(codecs)
    this.#deadlines = new Deadlines(clock)
    this.#observers = new Observers(logger)
    this.#publishers = new Map(
      [...transports].map(([name, transport]) => [
        name,
        new Publisher({
          name,
          transport,
          options: publish,
          clock,
          events: this.events,
          observers: this.#observers,
          deadlines: this.#deadlines,
        }),
      ]),
    )
    this.#port = new PublishPort({
      publishers: this.#publishers,
      middleware: options.publishMiddleware,
      factory: new MessageFactory({ source: service, codecs: this.#codecs, clock, checkWire }),
      clock,
      deadlines: this.#deadlines,
      deliveryTimeoutMs: publish.deliveryTimeoutMs,
      causality: options.causality,
      state: () => this.#state,
    })
    const { startTimeoutMs, closeTimeoutMs } = options
    const closing = this.#lifetime.signal
    this.#transports = new BusTransports({
      transports,
      service,
      instanceId: this.#instanceId,
      clock,
      events: this.events,
      logger,
      observers: this.#observers,
      identityOf: (name) => (this.#publishers.get(name) as Publisher).identity,
      closing,
    })
    this.#factory = new ConsumerFactory({
      owner: this,
      options,
      instanceId: this.#instanceId,
      transports: this.#transports,
      publishers: this.#publishers,
      port: this.#port,
      codecs: this.#codecs,
      deadlines: this.#deadlines,
      events: this.events,
      observers: this.#observers,
      onEnd: (consumer) => {
        // A closing bus still lists its consumers.
        if (this.#closing === undefined) this.#consumers.delete(consumer)
      },
    })
    this.#extensions = new Extensions(this, { clock, logger, startTimeoutMs, closeTimeoutMs, closing })
    for (const extension of options.extensions) this.#extensions.add(extension)
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
    return this.#port.publish(target, data, options, options.transport, undefined)
  }

  async publishMany(
    target: string | AnyEventDefinition,
    items: readonly PublishItem[],
    options: PublishManyOptions = NO_OPTIONS,
  ): Promise<readonly PublishReceipt[]> {
    const results = await this.#port.publishMany(target, items, options, options.transport, undefined)
    return options.allowFailures === true
      ? (results as readonly PublishReceipt[])
      : allPublished(topicOf(target), results)
  }

  within<Result>(context: CausalityContext, call: () => Result): Result {
    refuseUnknown('The context of bus.within', context, CONVERSATION)
    checkConversation(context)
    return this.options.causality ? runWithin(context, call) : call()
  }

  encode(
    target: string | AnyEventDefinition,
    data: unknown,
    options: PublishOptions = NO_OPTIONS,
  ): Promise<OutgoingMessage> {
    return this.#port.encode(target, data, options, undefined, 'bus.encode')
  }

  sendEncoded(
    messages: readonly OutgoingMessage[],
    options: SendOptions = NO_OPTIONS,
  ): Promise<readonly PublishResult[]> {
    return this.#port.sendEncoded(messages, options)
  }

  transaction<Result>(
    work: (tx: Transaction) => Result | Promise<Result>,
    options: SendOptions = NO_OPTIONS,
  ): Promise<Result> {
    return runTransaction({ port: this.#port, maxBytes: this.options.publish.maxBufferedBytes }, work, options)
  }

  // --- consume -----------------------------------------------------------------------------------------------------

  consume(
    target: ConsumeTarget | AnyConsumerDefinition,
    handler?: Handler<never> | BatchHandler<never>,
    options: ConsumeOptions | BatchConsumeOptions = {},
  ): ConsumerHandle {
    return this.#add(
      isConsumerDefinition(target, handler)
        ? this.#factory.fromDefinition(target)
        : this.#factory.make(target, { handler }, options),
    )
  }

  /** @internal See `consumeWith`. */
  consumeWith(target: ConsumeTarget, makeRunner: RunnerFactory, options: ConsumeOptions): ConsumerHandle {
    return this.#add(this.#factory.make(target, { makeRunner }, options))
  }

  #add(consumer: BusConsumer): ConsumerHandle {
    if (this.#state === 'draining' || this.#state === 'closed')
      throw new StateError('The bus is closed: no consumer can be added')
    this.#consumers.add(consumer)
    if (this.#state === 'idle') this.#endWaitForStart ??= waitsForStart(this.service)
    if (this.#extensions.started) {
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

  // --- lifecycle ---------------------------------------------------------------------------------------------------

  start(options: StartOptions = {}): Promise<void> {
    if (this.#closing !== undefined) return Promise.reject(new StateError('The bus is closed: make a new one'))
    const timeoutMs = readTimeout('bus.start', options)
    if (timeoutMs instanceof ConfigurationError) return Promise.reject(timeoutMs)
    this.#endWaitForStart?.()
    this.#starting ??= this.#start(timeoutMs ?? this.options.startTimeoutMs)
    return this.#starting
  }

  async #start(timeoutMs: number): Promise<void> {
    this.#state = 'starting'
    const endsAt = this.options.clock.monotonic() + timeoutMs
    try {
      await this.#transports.open(endsAt)
      if (this.#closing !== undefined) throw closedWhileStarting()
      // Extensions may publish while they start, and handlers from the first message on.
      this.#state = 'running'
      await this.#extensions.start(endsAt)
    } catch (error) {
      if (this.#closing !== undefined) throw closedWhileStarting()
      this.#state = 'idle'
      this.#starting = undefined
      throw error
    }
    if (this.#closing !== undefined) throw closedWhileStarting()
    try {
      await this.#consumers.start(endsAt)
    } catch (error) {
      if (this.#closing !== undefined) throw closedWhileStarting()
      await this.close({ timeoutMs: 0 }).catch((closeError: unknown) =>
        this.options.logger.error({ err: closeError }, 'closing after a failed start failed too'),
      )
      throw error
    }
    if (this.state !== 'running') throw closedWhileStarting()
    this.#startedAt = this.options.clock.now()
  }

  close(options: CloseOptions = {}): Promise<void> {
    const timeoutMs = readTimeout('bus.close', options)
    if (timeoutMs instanceof ConfigurationError) return Promise.reject(timeoutMs)
    this.#endWaitForStart?.()
    if (this.#closing === undefined) {
      const deadline = new CloseDeadline(this.options.clock, timeoutMs ?? this.options.closeTimeoutMs)
      this.#lifetime.abort(closedWhileStarting())
      // Set first: code that runs during the close may check it.
      const closing = Promise.withResolvers<void>()
      this.#closing = { done: closing.promise, deadline }
      closing.resolve(this.#close(deadline))
    } else if (timeoutMs !== undefined) this.#closing.deadline.shorten(timeoutMs)
    return holdsUpCloseOf({ bus: this }) ? this.#refuseToWait(this.#closing.done) : this.#closing.done
  }

  #refuseToWait(closing: Promise<void>): Promise<void> {
    // There may be no other caller left to see the error.
    closing.catch((error: unknown) => this.options.logger.error({ err: error }, 'closing the bus failed'))
    return refuseToWait('bus.close()', 'a handler of the bus, or in drain() or close() of an extension')
  }

  async #close(deadline: CloseDeadline): Promise<void> {
    if (this.#state !== 'idle') this.#state = 'draining'
    const errors: unknown[] = []
    const note = (results: readonly PromiseSettledResult<unknown>[]): void => {
      for (const result of results) if (result.status === 'rejected') errors.push(result.reason)
    }
    const consumers = [...this.#consumers].map((consumer) => consumer.closeWithin(deadline.reached))
    note(await Promise.allSettled([...consumers, ...this.#extensions.drain(deadline)]))
    errors.push(...(await this.#extensions.close(deadline)))
    await Promise.race([
      Promise.all([...this.#publishers.values()].map((publisher) => publisher.flush())),
      deadline.reached,
    ])
    this.#state = 'closed'
    await Promise.all([...this.#publishers.values()].map((publisher) => publisher.close()))
    // Transports get at least a second, even when the handlers have used up the time.
    const deadlineMs = Math.max(1_000, deadline.leftMs)
    note(await this.#transports.close(deadlineMs))
    deadline.cancel()
    this.#deadlines.close()
    this.#endLog()
    this.events.close()
    if (errors.length > 0)
      throw errors.length === 1
        ? errors[0]
        : new AggregateError(errors, `Closing the bus failed in ${errors.length} places`)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async use(extension: BusExtension): Promise<void> {
    if (this.#closing !== undefined) throw new StateError('The bus is closed: no extension can be added')
    await this.#extensions.use(extension)
  }

  async health(): Promise<HealthReport> {
    const consumers = this.#listedConsumers().map((consumer) => consumer.health())
    const extensions = new Map([...this.#extensions].map((extension) => [extension.name, extension.health()]))
    return healthReport(this.#state, this.options.transports, consumers, extensions)
  }

  snapshot(): BusSnapshot {
    const { service, transports } = this.options
    return busSnapshot({
      bus: { service, instanceId: this.#instanceId, state: this.#state, startedAt: this.#startedAt },
      transports,
      consumers: this.#listedConsumers(),
      published: new Map([...this.#publishers].map(([name, { counts }]) => [name, counts])),
      extensions: [...this.#extensions].map((extension) => extension.snapshot()),
    })
  }

  #listedConsumers(): readonly BusConsumer[] {
    return [...this.#consumers].filter((consumer) => !consumer.closed || this.#state === 'closed')
  }

  // --- observers ---------------------------------------------------------------------------------------------------

  observe(observer: BusObserver): () => void {
    const problem = observerProblem(observer)
    if (problem !== undefined) throw new ConfigurationError('bus.observe', [{ path: 'observer', message: problem }])
    const offs = [this.#observers.add(observer)]
    for (const name of ['retry', 'deadLetter', 'connect'] as const)
      if (observer[name] !== undefined) offs.push(this.events.on(name, (event) => observer[name]?.(event as never)))
    return () => {
      for (const off of offs) off()
    }
  }

  // --- looking after -----------------------------------------------------------------------------------------------

  deadLetters(
    topic: string | AnyEventDefinition,
    group: string = this.options.service,
    options: { readonly transport?: string | undefined } = {},
  ): DeadLetters {
    const problem = targetProblem(topic) ?? topicProblem(topicOf(topic), false)
    const problems = problem === undefined ? [] : [{ path: 'topic', message: problem }]
    if (groupProblem(group) !== undefined) problems.push({ path: 'group', message: groupProblem(group) ?? '' })
    if (problems.length > 0) throw new ConfigurationError('bus.deadLetters', problems)
    const reader = new OptionsReader('bus.deadLetters', options)
    const transportName = reader.string('transport', this.#transports.defaultName)
    reader.done()
    if (this.#state === 'idle' || this.#state === 'starting')
      throw new StateError('The bus is not started: await bus.start() before you look at dead letters')
    if (this.#state === 'closed') throw new StateError('The bus is closed: its dead letters can no longer be reached')
    return deadLettersOf({
      topic: topicOf(topic),
      group,
      transportName,
      admin: this.admin(transportName),
      publisher: this.#port.publisher(transportName),
      codecs: this.#codecs,
      clock: this.options.clock,
      events: this.events,
    })
  }

  admin(name?: string): TransportAdmin {
    const { admin, system } = this.#transports.get(name)
    if (admin === undefined) throw new UnsupportedError(`${system} has no admin side`)
    return admin
  }
}

function closedWhileStarting(): StateError {
  return new StateError('The bus was closed while it was starting')
}
