import { afterEach, describe, expect, it } from 'vitest'
import { ConfigurationError, createBus, UnsupportedError } from 'busbar'
import type { BatchConsumeOptions, Bus, ConsumeOptions, Handler } from 'busbar'
import { dedupe } from 'busbar/middleware'
import { memoryDedupeStore } from 'busbar/stores/memory'
import { turn } from './stage.ts'
import { delivery, StubTransport } from './stub-transport.ts'

const open: Bus[] = []
afterEach(async () => {
  await Promise.all(open.splice(0).map((bus) => bus.close({ timeoutMs: 0 })))
})

function made(can = true): { readonly bus: Bus; readonly transport: StubTransport; readonly other: StubTransport } {
  const [transport, other] = [new StubTransport({ publishOnAck: can }), new StubTransport({ publishOnAck: can })]
  const bus = createBus({ service: 'test', transports: { main: transport, other }, logger: false })
  open.push(bus)
  return { bus, transport, other }
}

async function started(handler: Handler, options: ConsumeOptions = {}) {
  const { bus, transport, other } = made()
  bus.consume('orders', handler, { guarantee: 'exactly-once', ...options })
  await bus.start()
  const [broker] = transport.subscriptions
  if (broker === undefined) throw new Error('not subscribed')
  return { bus, transport, other, broker }
}

describe("guarantee: 'exactly-once'", () => {
  it('publishes with the ack, and tells the transport so', async () => {
    const { transport, broker } = await started(async ({ id }, ctx) => {
      await ctx.publish('outputs', 1, { id: `${id}-1` })
    })
    broker.deliver(delivery('a'))
    await turn()
    expect(broker.spec.guarantee).toBe('exactly-once')
    expect(broker.settled).toMatchObject([{ id: 'a', outcome: { type: 'ack', publish: [{ id: 'a-1' }] } }])
    expect(transport.published).toEqual([])
  })

  it('is not told of other consumers, those with publishOnAck included', async () => {
    const { bus, transport } = made()
    bus.consume('a', () => {}, { publishOnAck: true })
    bus.consume('b', () => {}, { guarantee: 'at-least-once' })
    await bus.start()
    expect(transport.subscriptions.map(({ spec }) => spec.guarantee)).toEqual([undefined, undefined])
  })

  it('refuses to publish to another transport, which no transaction can span', async () => {
    const errors: unknown[] = []
    const { other, broker } = await started(async (_message, ctx) => {
      errors.push(await ctx.publish('outputs', 1, { transport: 'other' }).catch((error: unknown) => error))
      errors.push(
        await ctx.publishMany('outputs', [{ data: 1 }], { transport: 'other' }).catch((error: unknown) => error),
      )
      await ctx.publish('outputs', 1, { id: 'same', transport: 'main' })
    })
    broker.deliver(delivery('a'))
    await turn()
    expect(errors.map(String)).toEqual([
      expect.stringContaining('ctx.publish("outputs") names the transport "other"'),
      expect.stringContaining('1 of 1'),
    ])
    expect(errors[0]).toBeInstanceOf(UnsupportedError)
    expect(other.published).toEqual([])
    expect(broker.settled).toMatchObject([{ outcome: { type: 'ack', publish: [{ id: 'same' }] } }])
  })

  it('is refused when the consumer is added, on a transport that can not', () => {
    const { bus } = made(false)
    const add = (): unknown => bus.consume('orders', () => {}, { guarantee: 'exactly-once' })
    expect(add).toThrow(UnsupportedError)
    expect(add).toThrow(`stub can't be used for the consumer of "orders": it can't store what a handler publishes`)
  })

  it.each<[string, ConsumeOptions | BatchConsumeOptions, string]>([
    ['publishOnAck: false', { publishOnAck: false }, "publishOnAck: can't be false"],
    ['a batch handler', { batch: { size: 2 } }, "guarantee: 'exactly-once' has no meaning for a batch handler"],
    ['dedupe', { middleware: [dedupe({ store: memoryDedupeStore() })] }, "guarantee: can't be combined with dedupe()"],
  ])('is refused with %s', (_name, options, problem) => {
    const { bus } = made()
    const add = (): unknown =>
      bus.consume('orders', () => {}, { guarantee: 'exactly-once', ...options } as ConsumeOptions)
    expect(add).toThrow(ConfigurationError)
    expect(add).toThrow(problem)
  })

  it('is refused when it is misspelt', () => {
    const { bus } = made()
    expect(() => bus.consume('orders', () => {}, { exactlyOnce: true } as never)).toThrow(
      "write guarantee: 'exactly-once'",
    )
    expect(() => bus.consume('orders', () => {}, { guarantee: 'exactlyOnce' as never })).toThrow('guarantee')
  })
})
