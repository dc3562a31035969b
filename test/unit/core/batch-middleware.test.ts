import { describe, expect, it } from 'vitest'
import { createBus, defineConsumer, silentLogger } from 'busbar'
import type { BatchMiddleware, Bus, BusOptions } from 'busbar'
import { memory } from 'busbar/memory'

function made(options: Partial<BusOptions> = {}): Bus {
  return createBus({ service: 'test', transport: memory(), logger: silentLogger, ...options })
}

describe('batch middleware', () => {
  it('wraps batch handlers: that of the bus outside that of the consumer, once for each batch', async () => {
    const steps: string[] = []
    const note =
      (name: string): BatchMiddleware =>
      (next) =>
      async (messages, ctx) => {
        steps.push(`${name} ${messages.length} ${ctx.group}`)
        return next(messages, ctx)
      }
    const bus = made({ batchMiddleware: [note('bus')], middleware: [() => () => expect.unreachable()] })
    bus.consume('t', () => void steps.push('handler'), {
      batch: { size: 2, timeoutMs: 5_000 },
      middleware: [note('first'), note('second')],
    })
    await bus.start()
    const acked = bus.events.once('ack')
    await bus.publishMany('t', [{ data: 1 }, { data: 2 }])
    await acked
    expect(steps).toEqual(['bus 2 test', 'first 2 test', 'second 2 test', 'handler'])
    await bus.close()
  })

  it('decides about each message as the handler does', async () => {
    const refuseOdd: BatchMiddleware = (next) => async (messages, ctx) => {
      const results = (await next(messages, ctx)) ?? messages.map(() => undefined)
      return results.map((result, index) => ((messages[index]?.data as number) % 2 === 1 ? new Error('odd') : result))
    }
    const bus = made()
    bus.consume(
      defineConsumer({
        topic: 't',
        handleBatch: () => {},
        batch: { size: 4, timeoutMs: 5_000 },
        middleware: [refuseOdd],
        retry: false,
      }),
    )
    const dead: unknown[] = []
    bus.events.on('deadLetter', ({ message }) => dead.push(String(message.body)))
    await bus.start()
    const acked = bus.events.once('ack')
    await bus.publishMany('t', [{ data: 0 }, { data: 1 }, { data: 2 }, { data: 3 }])
    await acked
    await bus.close()
    expect(dead).toEqual(['1', '3'])
  })

  it('fails the whole batch when it returns something else, or throws', async () => {
    const wrong: readonly BatchMiddleware[] = [
      () => () => [],
      () => () => 'done' as never,
      () => () => {
        throw new Error('no')
      },
    ]
    for (const middleware of wrong) {
      const bus = made()
      bus.consume('t', () => {}, { batch: { size: 2, timeoutMs: 5_000 }, middleware: [middleware], retry: false })
      await bus.start()
      const dead = bus.events.once('deadLetter')
      await bus.publishMany('t', [{ data: 0 }, { data: 1 }])
      await dead
      await bus.close()
    }
  })

  it('is refused when it is not middleware', () => {
    expect(() => made({ batchMiddleware: [5 as never] })).toThrow('batchMiddleware.0: must be a function')
    const bus = made()
    const nothing = (): never => undefined as never
    expect(() => bus.consume('t', () => {}, { batch: { size: 2 }, middleware: [nothing] })).toThrow(
      'middleware.0: "nothing" must return a batch handler',
    )
  })
})
