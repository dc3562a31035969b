import type { BusExtension, BusOptions } from './bus-types.ts'
import { systemClock } from './clock.ts'
import type { Clock } from './clock.ts'
import { readCodecs } from './codec.ts'
import type { AsyncCodec, Codec } from './codec.ts'
import { groupProblem } from './consume/consume-options.ts'
import type { ConsumeOptions } from './consume/consume-options.ts'
import type { AnyConsumerDefinition } from './define-consumer.ts'
import type { BatchMiddleware, Middleware } from './handler.ts'
import { silentLogger } from './logger.ts'
import type { Logger } from './logger.ts'
import { describe, OptionsReader } from './util/options-reader.ts'
import type { PublishMiddleware } from './publish/publish-middleware.ts'
import { PUBLISHER_DEFAULTS } from './publish/publisher.ts'
import type { ResolvedPublisherOptions } from './publish/publisher.ts'
import { StderrLogger } from './stderr-logger.ts'
import { definitionProblem } from './target.ts'
import type { Transport } from './transport.ts'
import { extensionProblems } from './used-extension.ts'
import type { WireCheckMode } from './publish/wire-check.ts'

export interface ResolvedBusOptions {
  readonly service: string
  /** By name; the first is the default. */
  readonly transports: ReadonlyMap<string, Transport>
  readonly consumers: readonly AnyConsumerDefinition[]
  readonly extensions: readonly BusExtension[]
  readonly middleware: readonly Middleware[]
  readonly batchMiddleware: readonly BatchMiddleware[]
  readonly publishMiddleware: readonly PublishMiddleware[]
  readonly codecs: readonly (Codec | AsyncCodec)[]
  readonly logger: Logger
  readonly publish: ResolvedPublisherOptions
  readonly startTimeoutMs: number
  readonly closeTimeoutMs: number
  readonly causality: boolean
  readonly checkWire: WireCheckMode
  readonly clock: Clock
}

const BUS_DEFAULTS = { startTimeoutMs: 60_000, closeTimeoutMs: 30_000 } as const

export function resolveBusOptions(options: BusOptions): ResolvedBusOptions {
  const reader = new OptionsReader('createBus', options)
  const service = reader.requiredString('service')
  if (service !== '' && groupProblem(service) !== undefined) reader.problem('service', groupProblem(service) ?? '')
  const publish = reader.nested('publish')
  const consumers = reader.list('consumers')
  for (const [index, definition] of consumers.entries()) {
    const problem = definitionProblem(definition)
    if (problem !== undefined) reader.problem(`consumers.${index}`, problem)
  }
  const codecs = readCodecs(reader)
  const clock = reader.withMethods<Clock>('clock', ['now', 'monotonic', 'setTimer']) ?? systemClock
  const resolved: ResolvedBusOptions = {
    service,
    transports: resolveTransports(reader),
    consumers: consumers as readonly AnyConsumerDefinition[],
    extensions: resolveExtensions(reader),
    middleware: reader.functions<Middleware>('middleware'),
    batchMiddleware: reader.functions<BatchMiddleware>('batchMiddleware'),
    publishMiddleware: reader.functions<PublishMiddleware>('publishMiddleware'),
    codecs,
    logger: resolveLogger(reader, clock),
    publish: Object.freeze({
      deliveryTimeoutMs: publish.integer('deliveryTimeoutMs', PUBLISHER_DEFAULTS.deliveryTimeoutMs, { min: 1 }),
      maxBufferedBytes: publish.integer('maxBufferedBytes', PUBLISHER_DEFAULTS.maxBufferedBytes, { min: 1024 }),
      maxBatchSize: publish.integer('maxBatchSize', PUBLISHER_DEFAULTS.maxBatchSize, { min: 1, max: 100_000 }),
    }),
    startTimeoutMs: reader.integer('startTimeoutMs', BUS_DEFAULTS.startTimeoutMs),
    closeTimeoutMs: reader.integer('closeTimeoutMs', BUS_DEFAULTS.closeTimeoutMs),
    causality: reader.boolean('causality', true),
    checkWire: reader.oneOf<WireCheckMode>(
      'checkWire',
      ['first', 'always', 'off'],
      process.env['NODE_ENV'] === 'production' ? 'off' : 'first',
    ),
    clock,
  }
  reader.misplaced(CONSUME_OPTIONS, 'bus.consume or defineConsumer')
  reader.done()
  return Object.freeze(resolved)
}

/** Options of a consumer that are not options of a bus, too. */
const CONSUME_OPTIONS = [
  'group',
  'broadcast',
  'concurrency',
  'order',
  'prefetch',
  'prefetchBytes',
  'retry',
  'deadLetter',
  'onDeadLetter',
  'timeoutMs',
  'abandonAfterMs',
  'from',
  'stalledAfterMs',
  'native',
  'batch',
] as const satisfies readonly (keyof ConsumeOptions)[]

function resolveLogger(reader: OptionsReader, clock: Clock): Logger {
  if (reader.raw('logger') === false) return silentLogger
  return reader.withMethods<Logger>('logger', ['debug', 'info', 'warn', 'error']) ?? new StderrLogger(clock)
}

function resolveExtensions(reader: OptionsReader): readonly BusExtension[] {
  const extensions = reader.list('extensions') as readonly BusExtension[]
  const names = new Set<unknown>()
  for (const [index, extension] of extensions.entries()) {
    for (const { path, message } of extensionProblems(extension, names))
      reader.problem(`extensions.${index}${path === '' ? '' : `.${path}`}`, message)
    names.add(extension?.name)
  }
  return extensions
}

function resolveTransports(reader: OptionsReader): ReadonlyMap<string, Transport> {
  const one = reader.raw('transport')
  const several = reader.raw('transports')
  const transports = new Map<string, Transport>()
  if (one !== undefined && several !== undefined)
    reader.problem('transport', 'and transports exclude each other: put it into transports as well')
  else if (one !== undefined) transports.set('main', one as Transport)
  else if (typeof several === 'object' && several !== null)
    for (const [name, transport] of Object.entries(several)) transports.set(name, transport as Transport)
  if (transports.size === 0 && one === undefined) {
    reader.problem(
      'transport',
      "is required, for example sqlite({ path: './busbar.db' }) of 'busbar/sqlite' or memory() of 'busbar/memory'",
    )
  }
  for (const [name, transport] of transports) {
    const { system, open, publish, subscribe } = (transport ?? {}) as Partial<Transport>
    const at = one === undefined ? `transports.${name}` : 'transport'
    if (
      typeof system !== 'string' ||
      typeof open !== 'function' ||
      typeof publish !== 'function' ||
      typeof subscribe !== 'function'
    ) {
      const got = describe(transport)
      reader.problem(
        at,
        `must be a transport, such as memory() of 'busbar/memory' returns, got ${got}${adviceFor(transport)}`,
      )
    }
  }
  if (new Set(transports.values()).size < transports.size)
    reader.problem('transports', 'holds the same transport twice: make one for each name')
  return transports
}

function adviceFor(transport: unknown): string {
  if (typeof transport === 'string') return "; for a URL, write await transportFromUrl(url) of 'busbar/url'"
  return typeof transport === 'function' ? '; call it' : ''
}
