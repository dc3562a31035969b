import { afterEach, describe, expect, it } from 'vitest'
import { createBus, defineEvent } from 'busbar'
import type { Bus, BusOptions, Message } from 'busbar'
import { memory } from 'busbar/memory'
import { waitUntil } from 'busbar/testing'
import { z } from 'zod'
import { StubTransport } from './stub-transport.ts'

const Price = defineEvent('prices', z.object({ sku: z.string(), cents: z.number() }).nullable(), {
  // As with any event: the key comes from the data.
  key: (price) => (price as { sku: string }).sku,
})

const open: Bus[] = []
afterEach(async () => {
  await Promise.all(open.splice(0).map((bus) => bus.close({ timeoutMs: 0 })))
})

function made(options: Partial<BusOptions> = {}): Bus {
  const bus = createBus({ service: 'test', transport: memory(), logger: false, checkWire: 'always', ...options })
  open.push(bus)
  return bus
}

describe('null data', () => {
  it('has no body, and is null for handlers whose schema takes it', async () => {
    const bus = made()
    const seen: Message<{ sku: string; cents: number } | null>[] = []
    const batches: unknown[] = []
    bus.consume(Price, (message) => void seen.push(message))
    bus.consume(Price, (messages) => void batches.push(...messages.map(({ data }) => data)), {
      group: 'batches',
      batch: { size: 2 },
    })
    await bus.start()
    await bus.publish(Price, { sku: 'a', cents: 5 })
    await bus.publish(Price, null, { key: 'a' })
    await waitUntil(() => seen.length === 2 && batches.length === 2)
    expect(seen.map(({ data, body, key }) => [data, body === null, key])).toEqual([
      [{ sku: 'a', cents: 5 }, false, 'a'],
      [null, true, 'a'],
    ])
    expect(batches).toEqual([{ sku: 'a', cents: 5 }, null])
  })

  it('is refused by a schema that does not take it, at both ends', async () => {
    const Strict = defineEvent('prices', z.object({ sku: z.string() }))
    const bus = made()
    bus.consume(Strict, () => {})
    await bus.start()
    await expect(bus.publish(Strict, null as never)).rejects.toMatchObject({ code: 'BUSBAR_VALIDATION' })
    const dead = bus.events.once('deadLetter')
    const { id } = await bus.publish(Price, null, { key: 'a' })
    expect(await dead).toMatchObject({ reason: 'invalid', message: { id, body: null, key: 'a' } })
    const [letter] = await bus.deadLetters('prices').list()
    expect([letter?.message.body, letter?.data()]).toEqual([null, null])
  })

  it('needs the option key where the key of the event comes from the data', async () => {
    const bus = made()
    await bus.start()
    await expect(bus.publish(Price, null)).rejects.toThrow(
      'The key of "prices" can\'t be computed from null: pass the option key',
    )
  })

  it('is encoded as its codec says where the transport has no tombstones, and never sent as something else', async () => {
    const transport = new StubTransport({ tombstones: false })
    const bus = made({ transport })
    await bus.start()
    await bus.publish(Price, null, { key: 'a' })
    expect(String(transport.published[0]?.[0]?.body)).toBe('null')
    const message = { ...(await bus.encode('t', 1)), body: null }
    const [result] = await bus.sendEncoded([message])
    expect(result?.error).toMatchObject({ code: 'BUSBAR_UNSUPPORTED' })
    expect(result?.error?.message).toContain("can't carry a message without a body (a tombstone)")
  })

  it('passes publish middleware, which may make a tombstone of a message', async () => {
    const transport = memory()
    const bus = made({
      transport,
      publishMiddleware: [
        (next) => (call) =>
          next({ ...call, items: call.items.map((item) => ({ ...item, transform: (m) => ({ ...m, body: null }) })) }),
      ],
    })
    await bus.start()
    await bus.publish('t', null)
    await bus.publish('t', 5)
    expect(transport.messages('t').map(({ body }) => body)).toEqual([null, null])
  })

  it('is no body for the sizes of messages and the fingerprints of handled ones', async () => {
    const bus = made()
    let runs = 0
    bus.consume('t', (_, ctx) => {
      if (++runs === 1) ctx.retry({ delayMs: 0 })
    })
    await bus.start()
    const handled = bus.events.once('ack')
    await bus.publish('t', null)
    await handled
    expect(runs).toBe(2)
  })
})
