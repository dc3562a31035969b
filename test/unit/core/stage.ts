import { afterEach } from 'vitest'
import { createBus } from 'busbar'
import type {
  BatchConsumeOptions,
  BatchHandler,
  Bus,
  BusEventName,
  ConsumeOptions,
  ConsumerHandle,
  Handler,
  HandlerContext,
  Message,
} from 'busbar'
import { manualClock } from 'busbar/testing'
import type { ManualClock } from 'busbar/testing'
import type { AnyEventDefinition } from '../../../src/core/define.ts'
import type { Capabilities } from '../../../src/core/transport.ts'
import { StubTransport } from './stub-transport.ts'
import type { StubSubscription } from './stub-transport.ts'

/** A started bus with one consumer; the test plays the broker. */
export interface Stage {
  readonly bus: Bus
  readonly broker: StubSubscription
  readonly consumer: ConsumerHandle
  readonly clock: ManualClock
  readonly transport: StubTransport
  readonly events: string[]
}

const open: Bus[] = []
afterEach(async () => {
  await Promise.all(open.splice(0).map((bus) => bus.close({ timeoutMs: 0 })))
})

export async function stage(
  handler: Handler<never> | BatchHandler<never>,
  options: ConsumeOptions | BatchConsumeOptions = {},
  broker: Partial<Capabilities> | StubTransport = {},
  target: string | AnyEventDefinition = 'orders.placed',
  leaseMs?: number,
): Promise<Stage> {
  const transport = broker instanceof StubTransport ? broker : new StubTransport(broker)
  transport.leaseMs = leaseMs
  const clock = manualClock()
  const bus = createBus({ logger: false, service: 'billing', transport, clock })
  open.push(bus)
  const events: string[] = []
  bus.events.onAny((name: BusEventName) => events.push(name))
  const all = { retry: { backoff: 'fixed', baseMs: 100 }, ...options }
  const consumer = bus.consume(target as string, handler as Handler, all as ConsumeOptions)
  await bus.start()
  return { bus, broker: transport.subscriptions[0] as StubSubscription, consumer, clock, transport, events }
}

/** Lets everything happen that needs no time. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(() => setImmediate(resolve)))
}

/** A handler whose calls are ended by hand, by message id. */
export function byHand(): {
  handler: Handler
  started: string[]
  end(id: string, error?: unknown): void
  signals: Map<string, AbortSignal>
} {
  const running = new Map<string, { resolve: () => void; reject: (error: unknown) => void }>()
  const started: string[] = []
  const signals = new Map<string, AbortSignal>()
  return {
    started,
    signals,
    handler: (message: Message, ctx: HandlerContext) => {
      started.push(`${message.id}#${ctx.attempt}`)
      signals.set(message.id, ctx.signal)
      return new Promise<void>((resolve, reject) => running.set(message.id, { resolve, reject }))
    },
    end(id, error) {
      const run = running.get(id)
      if (run === undefined) throw new Error(`${id} is not running`)
      running.delete(id)
      if (error === undefined) run.resolve()
      else run.reject(error)
    },
  }
}
