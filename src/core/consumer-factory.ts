import { BusConsumer } from './bus-consumer.ts'
import type { ResolvedBusOptions } from './bus-options.ts'
import type { BusTransports } from './bus-transports.ts'
import { scoped } from './causality.ts'
import type { CodecRegistry } from './codec.ts'
import type { ContextPublisher } from './consume/context-publisher.ts'
import { checkCapabilities } from './consume/check-capabilities.ts'
import { resolveConsumeOptions } from './consume/consume-options.ts'
import type { ResolvedConsumeOptions } from './consume/consume-options.ts'
import { HeldPublisher } from './consume/held-publisher.ts'
import { publishingHeld, refuseMemories } from './consume/publish-on-ack.ts'
import { batchRunner, singleRunner } from './consume/runner-factory.ts'
import type { RunnerFactory } from './consume/runner-factory.ts'
import type { AnyEventDefinition } from './define.ts'
import type { AnyConsumerDefinition } from './define-consumer.ts'
import { ConfigurationError } from './errors.ts'
import type { EventSet } from './event-set.ts'
import type { BusEvents } from './events.ts'
import type { BatchHandler, BatchMiddleware, Handler, Middleware } from './handler.ts'
import type { Observers } from './observers.ts'
import { noSuchTransport, NO_OPTIONS } from './publish/publish-port.ts'
import type { PublishPort } from './publish/publish-port.ts'
import type { Publisher } from './publish/publisher.ts'
import { checkDefinition, targetProblem } from './target.ts'
import { broadcastGroup, normalizePattern, topicProblem } from './topic.ts'
import type { DeliverySink, SubscriptionSpec, Transport, TransportSubscription } from './transport.ts'
import { composeBatchHandler, composeHandler } from './util/compose.ts'
import { connectWithRetry } from './util/connect-retry.ts'
import type { Deadlines } from './util/deadlines.ts'
import { describe, OptionsReader } from './util/options-reader.ts'

/** What a consumer takes: a topic or pattern, an event, or several events. */
export type ConsumeTarget = string | AnyEventDefinition | EventSet

/** What handles the messages of a consumer: a handler that still has to be checked, or a separate runner. */
export type Handling = { readonly handler: unknown } | { readonly makeRunner: RunnerFactory }

export interface ConsumerFactoryParts {
  /** The bus: identifies it in the scope of its handlers (see `scoped`). */
  readonly owner: object
  readonly options: ResolvedBusOptions
  readonly instanceId: string
  readonly transports: BusTransports
  readonly publishers: ReadonlyMap<string, Publisher>
  readonly port: PublishPort
  readonly codecs: CodecRegistry
  readonly deadlines: Deadlines
  readonly events: BusEvents
  readonly observers: Observers
  readonly onEnd: (consumer: BusConsumer) => void
}

/** Makes the consumers of a bus: checks what the user gave, and wraps the handler in its middleware. */
export class ConsumerFactory {
  readonly #parts: ConsumerFactoryParts
  #made = 0

  constructor(parts: ConsumerFactoryParts) {
    this.#parts = parts
  }

  fromDefinition(definition: AnyConsumerDefinition): BusConsumer {
    const subject = checkDefinition(definition)
    const { topic, handle, handleBatch, ...options } = definition
    return this.make(topic, { handler: handle ?? handleBatch }, options, subject)
  }

  /** `subject`: what error messages call the consumer. Throws `ConfigurationError` and `UnsupportedError`. */
  make(target: ConsumeTarget, handling: Handling, given: object, subject?: string): BusConsumer {
    const { options: busOptions, instanceId, transports, publishers } = this.#parts
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
    reader.misnamed('exactlyOnce', `guarantee: 'exactly-once'`)
    const options = resolveConsumeOptions(reader)
    if (options.broadcast && options.group !== undefined)
      reader.problem('group', 'has no meaning with broadcast: every instance is a separate group')
    const transportName = options.transport ?? transports.defaultName
    if (!busOptions.transports.has(transportName))
      reader.problem('transport', noSuchTransport(transportName, busOptions.transports.keys()))
    reader.done()
    const transport = transports.get(transportName)
    const from = checkCapabilities(transport, topic, options)
    const { service, clock, publish } = busOptions
    const { owner, codecs, deadlines, events, observers, onEnd } = this.#parts
    const number = this.#made++
    // The handler needs a reference to its consumer before the consumer exists.
    const self: { consumer?: BusConsumer } = {}
    const consumer = new BusConsumer(
      {
        owner: { bus: owner, consumer: self },
        transportName,
        transport,
        identity: (publishers.get(transportName) as Publisher).identity,
        subscribe: (spec, sink) => this.#subscribe(self.consumer as BusConsumer, transport, spec, sink),
        topic,
        group: options.broadcast ? `${service}-${instanceId}-${number}` : (options.group ?? service),
        consumerId: `${service}.${instanceId}.${number}`,
        // Instances come and go, so their dead letters share one topic.
        deadLetterGroup: options.broadcast ? broadcastGroup(service) : (options.group ?? service),
        from,
        definition,
        makeRunner:
          'makeRunner' in handling
            ? handling.makeRunner
            : this.#runnerFor(topic, handling.handler as Handler | BatchHandler, options, transport),
        options,
        codecs,
        clock,
        deadlines,
        events,
        observers,
        publisher: this.#publisherFor(transportName),
        holdMessages: options.publishOnAck
          ? (onHeld) => this.#heldPublisher(transportName, transport, options, onHeld)
          : undefined,
        maxHeldBytes: publish.maxBufferedBytes,
      },
      onEnd,
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
  ): RunnerFactory {
    const { causality, middleware, batchMiddleware } = this.#parts.options
    const subject = `The consumer of "${topic}"`
    if (options.batch !== undefined) {
      const all = [...batchMiddleware, ...(options.middleware as readonly BatchMiddleware[])]
      const composed = composeBatchHandler(subject, all, handler as BatchHandler)
      return batchRunner(causality ? scoped(composed) : composed, options.batch)
    }
    const all = [...middleware, ...(options.middleware as readonly Middleware[])]
    if (options.publishOnAck) {
      const option = options.guarantee === 'exactly-once' ? 'guarantee' : 'publishOnAck'
      refuseMemories(subject, option, all, transport)
    }
    // Innermost: what a middleware does after the handler must not be done before its messages are safe.
    const held = options.publishOnAck ? publishingHeld(handler as Handler) : (handler as Handler)
    const composed = composeHandler(subject, all, held)
    return singleRunner(causality ? scoped(composed) : composed)
  }

  /** Retries while the error may pass: until `start()` gives up, or as long as the consumer lives. */
  async #subscribe(
    consumer: BusConsumer,
    transport: Transport,
    spec: SubscriptionSpec,
    sink: DeliverySink,
  ): Promise<TransportSubscription> {
    const { events, options } = this.#parts
    const doing = `subscribing group "${spec.group}" to "${spec.topic}"`
    const subscription = await connectWithRetry(
      () => transport.subscribe(spec, sink),
      { clock: options.clock, endsAt: consumer.endsAt, signal: consumer.stopping },
      ({ attempt, error, delayMs }) => {
        consumer.trouble = `${doing} failed ${attempt} times, the next attempt follows in ${delayMs} ms: ${error.message}`
        events.emit('error', { transport: consumer.transportName, error, doing })
      },
    )
    consumer.trouble = undefined
    return subscription
  }

  /** How a consumer's handlers publish: with the handled message as the cause, to the transport it came from. */
  #publisherFor(transportName: string): ContextPublisher {
    const { port } = this.#parts
    return {
      publish: (target, data, options = NO_OPTIONS, handled) =>
        port.publish(target, data, options, options.transport ?? transportName, handled),
      publishMany: (target, items, options = NO_OPTIONS, handled) =>
        port.publishMany(target, items, options, options.transport ?? transportName, handled),
    }
  }

  #heldPublisher(
    transportName: string,
    { capabilities }: Transport,
    { guarantee }: ResolvedConsumeOptions,
    onHeld: (bytes: number) => void,
  ): HeldPublisher {
    const { port, options } = this.#parts
    return new HeldPublisher({
      port,
      transportName,
      isAtomic: capabilities.publishOnAck,
      isExactlyOnce: guarantee === 'exactly-once',
      maxBytes: options.publish.maxBufferedBytes,
      onHeld,
    })
  }
}
