import assert from 'node:assert/strict'
import type { Bus, BusOptions, ConsumerHandle, DeadLetter } from '../../core/bus-types.ts'
import { systemClock } from '../../core/clock.ts'
import type { BatchConsumeOptions, ConsumeOptions } from '../../core/consume/consume-options.ts'
import type { AnyEventDefinition } from '../../core/define.ts'
import { ConnectionError } from '../../core/errors.ts'
import { BusEvents } from '../../core/events.ts'
import { silentLogger } from '../../core/logger.ts'
import type { Message } from '../../core/message.ts'
import type { BatchHandler, Handler, HandlerContext } from '../../core/handler.ts'
import type { Capabilities, GroupInfo, Transport } from '../../core/transport.ts'
import { createBus } from '../../index.ts'
import { childConsumer, childPublisher } from '../child-process.ts'
import type { Child, ChildConsumerOptions, ChildPublisherOptions } from '../child-process.ts'
import { ledger } from '../ledger.ts'
import type { Ledger } from '../ledger.ts'
import { seededRandom } from '../random.ts'
import type { Random } from '../random.ts'
import { recorder } from '../recorder.ts'
import type { Recorder } from '../recorder.ts'
import { uniqueName } from '../unique-name.ts'
import { waitUntil } from '../wait-until.ts'
import { gate } from './gate.ts'
import type { Gate } from './gate.ts'
import { Probe } from './probe.ts'
import { RawConsumer } from './raw.ts'
import type { BrokerFaults, ForeignClient } from './run-means.ts'

/** The parts of a run of the suite. */
export interface Environment {
  readonly create: () => Transport | Promise<Transport>
  readonly capabilities: Capabilities
  readonly faults: BrokerFaults
  readonly foreign: ForeignClient | undefined
  readonly childModule: string | URL | undefined
  readonly childEnv: Readonly<Record<string, string>> | undefined
  readonly patienceMs: number
  readonly precisionMs: number
}

/** What a scenario works with. Everything that it creates is closed when the scenario ends, however it ends. */
export interface ScenarioContext {
  readonly capabilities: Capabilities
  /** How long to wait for expected events, in ms. */
  readonly patienceMs: number
  /** How late a delay may end, in ms. */
  readonly precisionMs: number
  readonly random: Random
  readonly faults: BrokerFaults
  /** Throws when there is none: scenarios say `needs: ['foreign']`. */
  readonly foreign: ForeignClient
  /** Service of this scenario's buses, and so their default group. */
  readonly service: string
  /** A topic used only by this scenario. */
  topic(label?: string): string
  /** A group used only by this scenario. */
  group(label?: string): string
  /** A bus with a separate transport; not started. */
  bus(options?: Partial<BusOptions>): Promise<Bus>
  /** A started bus without consumers. */
  startedBus(options?: Partial<BusOptions>): Promise<Bus>
  /**
   * `bus.consume`, with `order: 'none'` as the default where the transport keeps no order: it would refuse the usual
   * default.
   */
  consume(bus: Bus, topic: string | AnyEventDefinition, handler: Handler, options?: ConsumeOptions): ConsumerHandle
  /** Same, with a batch handler. */
  consume(bus: Bus, topic: string, handler: BatchHandler, options: BatchConsumeOptions): ConsumerHandle
  /** An open transport below any bus. */
  transport(): Promise<Transport>
  /** A consumer below any bus. */
  rawConsumer(): RawConsumer
  /** A recording handler, which does what `behave` does. */
  probe(behave?: (message: Message, ctx: HandlerContext, by: string) => unknown): Probe
  /** Records the events of a bus. */
  recorder(bus: Bus): Recorder
  /** Opened when the scenario ends, so that no handler hangs forever. */
  gate(): Gate
  /** Accounts for messages by their ids. */
  ledger(): Ledger
  /** Waits until the condition returns something truthy; fails after `patienceMs`, with the description. */
  waitUntil<Value>(
    condition: () => Value | Promise<Value>,
    describe: string | (() => unknown),
  ): Promise<NonNullable<Value>>
  /** Waits until the group has nothing left to do: any later delivery is a mistake. */
  idle(bus: Bus, topic: string, group: string): Promise<void>
  /** What the admin interface reports about the group; undefined when it does not exist. */
  groupInfo(bus: Bus, topic: string, group: string): Promise<GroupInfo | undefined>
  /** Waits until there are `count` dead letters, and asserts that there are no more. */
  deadLetters(bus: Bus, topic: string, group: string, count: number): Promise<readonly DeadLetter[]>
  /** Starts a consumer in a process that a scenario can kill. */
  childConsumer(options: Omit<ChildConsumerOptions, 'module'>): Promise<Child>
  /** Starts a publisher in a process that a scenario can kill. */
  childPublisher(options: Omit<ChildPublisherOptions, 'module'>): Promise<Child>
  /** Runs when the scenario ends, in reverse order. */
  defer(cleanUp: () => Promise<void> | void): void
}

/** Long enough for a clean close; a scenario that tests closing sets its own. */
const CLOSE_TIMEOUT_MS = 2_000

export interface DisposableContext {
  readonly ctx: ScenarioContext
  /** Closes everything. Rejects with an `AggregateError` when something did not close. */
  readonly dispose: () => Promise<void>
}

export function createContext(scenarioId: string, environment: Environment): DisposableContext {
  const { capabilities, patienceMs, childModule, childEnv } = environment
  const prefix = uniqueName('c')
  const service = uniqueName('svc')
  const gates: Gate[] = []
  const cleanUps: (() => Promise<void> | void)[] = []
  const defer = (cleanUp: () => Promise<void> | void): void => {
    cleanUps.push(cleanUp)
  }
  const patiently: ScenarioContext['waitUntil'] = (condition, describe) =>
    waitUntil(condition, { timeoutMs: patienceMs, describe })

  const bus = async (options: Partial<BusOptions> = {}): Promise<Bus> => {
    const transport = options.transport ?? (options.transports === undefined ? await environment.create() : undefined)
    const made = createBus({
      service,
      closeTimeoutMs: CLOSE_TIMEOUT_MS,
      // Scenarios cause dead letters and losses on purpose.
      logger: silentLogger,
      ...options,
      transport,
    })
    defer(() => made.close())
    return made
  }
  const consume = (
    on: Bus,
    topic: string | AnyEventDefinition,
    handler: Handler,
    options: ConsumeOptions = {},
  ): ConsumerHandle =>
    on.consume(topic as string, handler, { ...(capabilities.ordering === 'none' && { order: 'none' }), ...options })
  const child = <Options>(
    start: (options: Options & { module: string | URL }) => Promise<Child>,
    options: Options,
  ): Promise<Child> => {
    if (childModule === undefined) throw new assert.AssertionError({ message: 'the scenario must say needs: child' })
    const starting = start({ startTimeoutMs: patienceMs * 2, env: childEnv, ...options, module: childModule })
    return starting.then((started) => {
      defer(async () => started[Symbol.asyncDispose]())
      return started
    })
  }
  const groupInfo: ScenarioContext['groupInfo'] = async (of, topic, group) =>
    (await of.admin().groups(topic)).find((info) => info.group === group)

  const ctx: ScenarioContext = {
    capabilities,
    patienceMs,
    precisionMs: environment.precisionMs,
    random: seededRandom(process.env['BUSBAR_TEST_SEED'] ?? scenarioId),
    faults: environment.faults,
    get foreign() {
      if (environment.foreign === undefined)
        throw new assert.AssertionError({ message: 'the scenario must say needs: foreign' })
      return environment.foreign
    },
    service,
    topic: (label = 'topic') => `${prefix}.${label}`,
    group: (label = 'group') => uniqueName(label),
    bus,
    async startedBus(options) {
      const made = await bus(options)
      await made.start()
      return made
    },
    consume: consume as ScenarioContext['consume'],
    async transport() {
      const transport = await environment.create()
      defer(() => transport.close())
      await openRaw(transport, service)
      return transport
    },
    rawConsumer() {
      const made = new RawConsumer(patienceMs)
      defer(() => made.close())
      return made
    },
    probe: (behave) => new Probe(patienceMs, behave),
    recorder: (of) => recorder(of, { timeoutMs: patienceMs }),
    gate() {
      const made = gate()
      gates.push(made)
      return made
    },
    ledger,
    waitUntil: patiently,
    async idle(of, topic, group) {
      if (!capabilities.lag) return roundTrips(ctx)
      await patiently(
        async () => (await groupInfo(of, topic, group).catch(notDuringACut))?.lag === 0,
        `the lag of group ${group} to come down to 0`,
      )
    },
    groupInfo,
    async deadLetters(of, topic, group, count) {
      const letters = of.deadLetters(topic, group)
      const found = await patiently(async () => {
        const list = await letters.list()
        return list.length >= count ? list : undefined
      }, `${count} dead letters in ${letters.topic}`)
      assert.equal(found.length, count, `there must be ${count} dead letters in ${letters.topic}`)
      return found
    },
    childConsumer: (options) => child(childConsumer, options),
    childPublisher: (options) => child(childPublisher, options),
    defer,
  }

  return {
    ctx,
    async dispose() {
      for (const each of gates) each.open()
      const failures: unknown[] = []
      for (const cleanUp of cleanUps.reverse()) {
        try {
          await cleanUp()
        } catch (error) {
          failures.push(error)
        }
      }
      if (failures.length > 0) throw new AggregateError(failures, 'The scenario could not be cleaned up')
    },
  }
}

/** Opens a transport below any bus. */
export async function openRaw(transport: Transport, service: string): Promise<void> {
  await transport.open({
    service,
    instanceId: uniqueName('raw'),
    clock: systemClock,
    events: new BusEvents(silentLogger),
    logger: silentLogger,
    name: 'main',
  })
}

/**
 * The best that is possible where the broker does not report the lag: what was in transit has been overtaken several
 * times.
 */
async function roundTrips(ctx: ScenarioContext): Promise<void> {
  const bus = await ctx.bus({ service: uniqueName('trip') })
  const topic = `${uniqueName('trip')}.topic`
  const probe = ctx.probe()
  ctx.consume(bus, topic, probe.handler())
  await bus.start()
  for (let round = 1; round <= 3; round++) {
    await bus.publish(topic, round)
    await probe.waitHandled(round)
  }
  await bus.close()
}

/** A check during a disconnect sees nothing; the caller checks again. Anything else is a failure. */
function notDuringACut(error: unknown): undefined {
  if (!ConnectionError.is(error)) throw error
}
