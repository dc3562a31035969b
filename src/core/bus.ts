// Longer than most files: one object has all the parts of a bus, and starts and closes them in their order.
import { randomBytes } from 'node:crypto'
import type { ContextPublisher } from './consume/attempt.ts'
import { BusConsumer, ConsumerRegistry, refuseToWait } from './bus-consumer.ts'
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
import { holdsUpCloseOf, runWithin, scoped } from './causality.ts'
import type { CausalityContext } from './causality.ts'
import { checkCapabilities } from './consume/check-capabilities.ts'
import { CloseDeadline } from './util/close-deadline.ts'
import { CodecRegistry } from './codec.ts'
import { composeBatchHandler, composeHandler } from './util/compose.ts'
import { connectWithRetry } from './util/connect-retry.ts'
import { groupProblem, resolveConsumeOptions } from './consume/consume-options.ts'
import type { BatchConsumeOptions, ConsumeOptions, ResolvedConsumeOptions } from './consume/consume-options.ts'
import { deadLettersOf } from './dead-letters/dead-letters.ts'
import { Deadlines } from './util/deadlines.ts'
import type { AnyConsumerDefinition, AnyEventDefinition } from './define.ts'
import { BusbarError, ConfigurationError, StateError, UnsupportedError } from './errors.ts'
import { logEvents } from './event-log.ts'
import type { EventSet } from './event-set.ts'
import { BusEvents } from './events.ts'
import { Extensions } from './extensions.ts'
import type { BatchHandler, BatchMiddleware, Handler, Middleware } from './handler.ts'
import { healthReport } from './health.ts'
import { HeldPublisher, publishingHeld, refuseMemories } from './consume/held-publisher.ts'
import type { BusState, HealthReport } from './health.ts'
import type { OutgoingMessage } from './message.ts'
import { allPublished } from './publish/all-published.ts'
import { checkConversation, MessageFactory } from './publish/message-factory.ts'
import { requireNode } from './util/node-version.ts'
import { waitsForStart } from './util/not-started.ts'
import { describe, OptionsReader, readTimeout } from './util/options-reader.ts'
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
import { noSuchTransport, noTransport, NO_OPTIONS, PublishPort } from './publish/publish-port.ts'
import { Publisher } from './publish/publisher.ts'
import { batchRunner, singleRunner } from './consume/runner-factory.ts'
import type { RunnerFactory } from './consume/runner-factory.ts'
import { busSnapshot } from './snapshot.ts'
import type { BusSnapshot } from './snapshot.ts'
import { checkDefinition, isConsumerDefinition, targetProblem, topicOf } from './target.ts'
import { broadcastGroup, normalizePattern, topicProblem } from './topic.ts'
import type { DeliverySink, SubscriptionSpec, Transport, TransportAdmin, TransportSubscription } from './transport.ts'

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

/** What a consumer takes: a topic or pattern, an event, or several events. */
type ConsumeTarget = string | AnyEventDefinition | EventSet

/** Who handles the messages of a consumer: a handler that still has to be checked, or a separate runner. */
type Handling = { readonly handler: unknown } | { readonly makeRunner: RunnerFactory }

class BusImpl implements Bus {
  readonly options: ResolvedBusOptions
  readonly events: BusEvents
  readonly #codecs: CodecRegistry
  readonly #deadlines: Deadlines
  readonly #observers: Observers
  readonly #port: PublishPort
  readonly #publishers: ReadonlyMap<string, Publisher>
  readonly #consumers = new ConsumerRegistry()
  readonly #extensions: Extensions
  readonly #instanceId = randomBytes(6).toString('hex')
  readonly #defaultTransport: string
  readonly #endLog: () => void
  /** Aborts when the bus starts to close: nothing is retried after that. */
  readonly #lifetime = new AbortController()
  /** Names of the open transports. */
  readonly #opened = new Set<string>()
  #consumersMade = 0
  #startedAt: number | undefined
  #state: BusState = 'idle'
  #endWaitForStart: (() => void) | undefined
  #starting: Promise<void> | undefined
  #closing: { readonly done: Promise<void>; readonly deadline: CloseDeadline } | undefined

  constructor(options: ResolvedBusOptions) {
    this.options = options
    const { service, codecs, clock, publish, checkWire, logger } = options
    this.events = new BusEvents(logger)
    this.#endLog = logEvents(this.events, logger, clock)
    this.#codecs = new CodecRegistry(codecs)
    this.#deadlines = new Deadlines(clock)
    this.#observers = new Observers(logger)
    this.#defaultTransport = options.transports.keys().next().value as string
    this.#publishers = new Map(
      [...options.transports].map(([name, transport]) => [
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
    return this.#port.encode(target, data, options, undefined)
  }

  sendEncoded(
    messages: readonly OutgoingMessage[],
    options: SendOptions = NO_OPTIONS,
  ): Promise<readonly PublishResult[]> {
    return this.#port.sendEncoded(messages, options)
  }

  /** How a consumer's handlers publish: with the handled message as the cause, to the transport it came from. */
  #publisherFor(transportName: string): ContextPublisher {
    const port = this.#port
    return {
      publish: (target, data, options = NO_OPTIONS, handled) =>
        port.publish(target, data, options, options.transport ?? transportName, handled),
      publishMany: (target, items, options = NO_OPTIONS, handled) =>
        port.publishMany(target, items, options, options.transport ?? transportName, handled),
    }
  }

  #heldPublisher(transportName: string, { capabilities }: Transport, onHeld: (bytes: number) => void): HeldPublisher {
    const { maxBufferedBytes: maxBytes } = this.options.publish
    return new HeldPublisher({ port: this.#port, transportName, isAtomic: capabilities.publishOnAck, maxBytes, onHeld })
  }

  // --- consume -----------------------------------------------------------------------------------------------------

  consume(
    target: ConsumeTarget | AnyConsumerDefinition,
    handler?: Handler<never> | BatchHandler<never>,
    options: ConsumeOptions | BatchConsumeOptions = {},
  ): ConsumerHandle {
    return this.#add(
      isConsumerDefinition(target, handler)
        ? this.#fromDefinition(target)
        : this.#makeConsumer(target, { handler }, options),
    )
  }

  /** @internal See `consumeWith`. */
  consumeWith(target: ConsumeTarget, makeRunner: RunnerFactory, options: ConsumeOptions): ConsumerHandle {
    return this.#add(this.#makeConsumer(target, { makeRunner }, options))
  }

  #add(consumer: BusConsumer): ConsumerHandle {
    if (this.#state === 'draining' || this.#state === 'closed')
      throw new StateError('The bus is closed: no consumer can be added')
    this.#refuseOverlap(consumer)
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

  #fromDefinition(definition: AnyConsumerDefinition): BusConsumer {
    const subject = checkDefinition(definition)
    const { topic, handle, handleBatch, ...options } = definition
    return this.#makeConsumer(topic, { handler: handle ?? handleBatch }, options, subject)
  }

  #makeConsumer(target: ConsumeTarget, handling: Handling, given: object, subject?: string): BusConsumer {
    const wrongTarget = targetProblem(target)
    if (wrongTarget !== undefined)
      throw new ConfigurationError('bus.consume', [{ path: 'topic', message: wrongTarget }])
    const definition = typeof target === 'string' ? undefined : target
    const topic = normalizePattern(typeof target === 'string' ? target : target.topic)
    const reader = new OptionsReader(subject ?? `bus.consume("${topic.slice(0, 60)}")`, given)
    const problem = topicProblem(topic, true)
    if (problem !== undefined) reader.problem('topic', problem)
    if ('handler' in handling && typeof handling.handler !== 'function')
      reader.problem(
        'handler',
        `must be a function, got ${describe(handling.handler)}${typeof given === 'function' ? ': it comes before the options' : ''}`,
      )
    reader.misnamed('retries', 'retry: { attempts: 3 }')
    reader.misnamed('maxRetries', 'retry: { attempts: 3 }')
    const options = resolveConsumeOptions(reader)
    if (options.broadcast && options.group !== undefined)
      reader.problem('group', 'has no meaning with broadcast: every instance is a separate group')
    const transportName = options.transport ?? this.#defaultTransport
    const { transports } = this.options
    if (!transports.has(transportName)) reader.problem('transport', noSuchTransport(transportName, transports.keys()))
    reader.done()
    const transport = this.#transport(transportName)
    const from = checkCapabilities(transport, topic, options)
    const { service } = this.options
    const number = this.#consumersMade++
    // The handler needs a reference to its consumer before the consumer exists.
    const self: { consumer?: BusConsumer } = {}
    const consumer = new BusConsumer(
      {
        transportName,
        transport,
        identity: (this.#publishers.get(transportName) as Publisher).identity,
        subscribe: (spec, sink) => this.#subscribe(self.consumer as BusConsumer, transport, spec, sink),
        topic,
        group: options.broadcast ? `${service}-${this.#instanceId}-${number}` : (options.group ?? service),
        consumerId: `${service}.${this.#instanceId}.${number}`,
        // Instances come and go, so their dead letters share one topic.
        deadLetterGroup: options.broadcast ? broadcastGroup(service) : (options.group ?? service),
        from,
        definition,
        makeRunner:
          'makeRunner' in handling
            ? handling.makeRunner
            : this.#runnerFor(topic, handling.handler as Handler | BatchHandler, options, transport, self),
        options,
        codecs: this.#codecs,
        clock: this.options.clock,
        deadlines: this.#deadlines,
        events: this.events,
        observers: this.#observers,
        publisher: this.#publisherFor(transportName),
        holdMessages: options.publishOnAck
          ? (onHeld) => this.#heldPublisher(transportName, transport, onHeld)
          : undefined,
        maxHeldBytes: this.options.publish.maxBufferedBytes,
      },
      (ended) => {
        // A closing bus still lists its consumers.
        if (this.#closing === undefined) this.#consumers.delete(ended)
      },
      self,
    )
    self.consumer = consumer
    return consumer
  }

  /** Wraps the handler in its middleware, and both in the conversation of the message. */
  #runnerFor(
    topic: string,
    handler: Handler | BatchHandler,
    options: ResolvedConsumeOptions,
    transport: Transport,
    consumer: object,
  ): RunnerFactory {
    const subject = `The consumer of "${topic}"`
    const { causality, middleware, batchMiddleware } = this.options
    if (options.batch !== undefined) {
      const all = [...batchMiddleware, ...(options.middleware as readonly BatchMiddleware[])]
      const composed = composeBatchHandler(subject, all, handler as BatchHandler)
      return batchRunner(causality ? scoped(composed, () => undefined, this, consumer) : composed, options.batch)
    }
    const all = [...middleware, ...(options.middleware as readonly Middleware[])]
    if (options.publishOnAck) refuseMemories(subject, all, transport)
    // Innermost: what a middleware does after the handler must not be done before its messages are safe.
    const held = options.publishOnAck ? publishingHeld(handler as Handler) : (handler as Handler)
    const composed = composeHandler(subject, all, held)
    return singleRunner(causality ? scoped(composed, (message) => message.encoded, this, consumer) : composed)
  }

  /** Retries while the error may pass: until `start()` gives up, or as long as the consumer lives. */
  async #subscribe(
    consumer: BusConsumer,
    transport: Transport,
    spec: SubscriptionSpec,
    sink: DeliverySink,
  ): Promise<TransportSubscription> {
    const { clock } = this.options
    const doing = `subscribing group "${spec.group}" to "${spec.topic}"`
    const subscription = await connectWithRetry(
      () => transport.subscribe(spec, sink),
      { clock, endsAt: consumer.endsAt, signal: consumer.stopping },
      ({ attempt, error, delayMs }) => {
        consumer.trouble = `${doing} failed ${attempt} times, the next attempt follows in ${delayMs} ms: ${error.message}`
        this.events.emit('error', { transport: consumer.transportName, error, doing })
      },
    )
    consumer.trouble = undefined
    return subscription
  }

  #refuseOverlap(consumer: BusConsumer): void {
    const other = this.#consumers.overlapping(consumer)
    if (other === undefined) return
    throw new ConfigurationError(`The consumer of "${consumer.topic}"`, [
      {
        path: 'group',
        message: `"${consumer.group}" has a consumer of "${other.topic}" on this bus already: each message would reach one of the two, at random. Give each its own group, or raise concurrency`,
      },
    ])
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
      await this.#openTransports(endsAt)
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
      await this.#startConsumers(endsAt)
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

  async #startConsumers(endsAt: number): Promise<void> {
    const consumers = [...this.#consumers]
    const start = async (consumer: BusConsumer): Promise<void> => {
      consumer.endsAt = endsAt
      try {
        await consumer.start()
      } catch (error) {
        // The others need not wait for a broker when the start has failed.
        for (const other of consumers) other.giveUp(error)
        throw error
      }
    }
    await allOrFirstError(consumers.map(start))
  }

  async #openTransports(endsAt: number): Promise<void> {
    const { service, clock, logger, transports } = this.options
    const failed = new AbortController()
    const signal = AbortSignal.any([this.#lifetime.signal, failed.signal])
    const open = async (name: string, transport: Transport): Promise<void> => {
      const host = { service, instanceId: this.#instanceId, clock, events: this.events, logger, name }
      try {
        await connectWithRetry(
          () => transport.open(host),
          { clock, endsAt, signal },
          (wait) => this.events.emit('connecting', { transport: name, ...wait }),
        )
        this.#opened.add(name)
      } catch (error) {
        // The others need not wait for a broker when the start has failed.
        failed.abort(error)
        throw error
      }
    }
    const closed = [...transports].filter(([name]) => !this.#opened.has(name))
    await allOrFirstError(closed.map(([name, transport]) => open(name, transport)))
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
    return holdsUpCloseOf({ owner: this }) ? this.#refuseToWait(this.#closing.done) : this.#closing.done
  }

  #refuseToWait(closing: Promise<void>): Promise<void> {
    // There may be no other caller left to see the error.
    closing.catch((error: unknown) => this.options.logger.error({ err: error }, 'closing the bus failed'))
    return refuseToWait('bus.close()', 'a handler of the bus, or in drain() or close() of an extension')
  }

  async #close(deadline: CloseDeadline): Promise<void> {
    const { transports } = this.options
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
    note(await Promise.allSettled([...transports.values()].map((transport) => transport.close({ deadlineMs }))))
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
    const transportName = reader.string('transport', this.#defaultTransport)
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
    const { admin, system } = this.#transport(name)
    if (admin === undefined) throw new UnsupportedError(`${system} has no admin side`)
    return admin
  }

  #transport(name: string | undefined): Transport {
    const transport = this.options.transports.get(name ?? this.#defaultTransport)
    if (transport === undefined) throw noTransport(name, this.options.transports.keys())
    return transport
  }
}

/** Waits for all promises, so that a first error leaves nothing half-open. */
async function allOrFirstError(promises: readonly Promise<unknown>[]): Promise<void> {
  const results = await Promise.allSettled(promises)
  // Attempts that were given up because of another failure are not the reason.
  const failures = results.filter((result) => result.status === 'rejected').map(({ reason }) => reason as unknown)
  if (failures.length > 0) throw failures.find((error) => !BusbarError.is(error) || !error.retryable) ?? failures[0]
}

function closedWhileStarting(): StateError {
  return new StateError('The bus was closed while it was starting')
}
