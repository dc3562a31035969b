import { createBus } from 'busbar'
import type { Bus, BusObserver, ConsumerHandle, ConsumeOptions, Middleware, PublishMiddleware, Transport } from 'busbar'
import type { Backlog } from '../harness/backlog.ts'
import type { CaseArguments } from '../harness/case-arguments.ts'
import { openBenchTransport } from './bench-transport.ts'
import { makeMessageSource } from './message-source.ts'
import type { MessageSource } from './message-source.ts'

/** A bus on a fresh transport, with what the arguments ask for. */
export interface BenchBus {
  readonly bus: Bus
  readonly source: MessageSource
  /** Adds the consumer whose handler counts in `backlog`. Call before `bus.start()`. */
  readonly consume: (backlog: Backlog) => ConsumerHandle
  readonly close: () => Promise<void>
}

/** What a middleware of a user looks like: it waits for the rest and does something afterwards. */
function countingMiddleware(): Middleware {
  let calls = 0
  return (next) => async (message, ctx) => {
    await next(message, ctx)
    calls++
    if (calls < 0) throw new Error('unreachable: it keeps the counter alive')
  }
}

/** A publish middleware that changes nothing: what is left is the price of having one. */
const passOn: PublishMiddleware = (next) => (call) => next(call)

/** An observer as metrics use it: counts what starts and what it took, once per call to the transport and per batch. */
function countingObserver(): BusObserver {
  let count = 0
  let totalMs = 0
  const start = (): number => ++count
  const ended = (durationMs: number): void => {
    totalMs += durationMs
    if (totalMs < 0) throw new Error('unreachable: it keeps the sum alive')
  }
  return {
    publishStart: start,
    publishEnd: (_, end) => ended(end.durationMs),
    batchStart: start,
    batchEnd: (_messages, _ctx, end) => ended(end.durationMs),
    settleStart: start,
    settleEnd: (_, end) => ended(end.durationMs),
  }
}

export async function openBenchBus(args: CaseArguments): Promise<BenchBus> {
  const { transport, remove } = await openBenchTransport(args)
  const topic = `bench.t${process.pid}.x${Date.now().toString(36)}`
  const source = makeMessageSource(args, topic)
  const middleware = Array.from({ length: args.number('middlewares', 0) }, countingMiddleware)
  const publishMiddleware = Array.from({ length: args.number('publish-middlewares', 0) }, () => passOn)
  const bus = createBus({ service: 'bench', transport, middleware, publishMiddleware })
  for (let count = args.number('observers', 0); count > 0; count--) bus.observe(countingObserver())
  const consumers: ConsumerHandle[] = []
  return {
    bus,
    source,
    consume(backlog) {
      const consumer = addConsumer(bus, source, args, backlog)
      consumers.push(consumer)
      return consumer
    },
    async close() {
      for (const consumer of consumers) await consumer.close()
      await sweep(transport, topic)
      await bus.close({ timeoutMs: 5_000 })
      remove()
    },
  }
}

/** What a run leaves behind must not be in the way of the next one. The other topic is of groups that only keep. */
async function sweep({ admin }: Transport, topic: string): Promise<void> {
  if (admin === undefined) return
  for (const found of await admin.groups())
    if (found.topic === topic || found.topic === 'bench.>') await admin.deleteGroup(found.topic, found.group)
  await admin.purge(topic)
}

function addConsumer(bus: Bus, source: MessageSource, args: CaseArguments, backlog: Backlog): ConsumerHandle {
  const options: Omit<ConsumeOptions, 'middleware'> = {
    concurrency: args.number('concurrency', 64),
    order: args.option('order', 'key') as 'key' | 'none',
    ...(args.option('prefetch', '') === '' ? {} : { prefetch: args.number('prefetch', 0) }),
  }
  const { event, read } = source
  let sum = 0
  switch (args.option('handler', 'async')) {
    case 'batch':
      return bus.consume(
        event,
        (messages) => {
          for (const message of messages) sum += read(message)
          backlog.doneMany(messages.length)
        },
        { ...options, concurrency: 1, prefetch: 4_000, batch: { size: 1_000, timeoutMs: 1 } },
      )
    case 'sync':
      return bus.consume(
        event,
        (message) => {
          sum += read(message)
          backlog.done()
        },
        options,
      )
    default:
      return bus.consume(
        event,
        async (message) => {
          sum += read(message)
          backlog.done()
        },
        options,
      )
  }
}

/** Waits until what was handled is also settled: the rate is of acked messages. */
export async function allAcked(handle: ConsumerHandle, count: number): Promise<void> {
  const giveUpAt = performance.now() + 10_000
  while (handle.stats().acked < count) {
    if (performance.now() > giveUpAt) throw new Error(`only ${handle.stats().acked} of ${count} messages were acked`)
    await new Promise((resolve) => {
      setImmediate(resolve)
    })
  }
}
