import { describe, expect, it } from 'vitest'
import { createBus, defineEvent, silentLogger } from 'busbar'
import type { Bus, BusOptions, OutgoingMessage } from 'busbar'
import { manualClock } from 'busbar/testing'
import { z } from 'zod'
import { notSent, StubTransport } from './stub-transport.ts'

const Order = defineEvent('orders', z.object({ id: z.string(), total: z.number().default(0) }), { key: ({ id }) => id })

function made(options: Partial<BusOptions> = {}): { bus: Bus; transport: StubTransport } {
  const transport = new StubTransport({ delay: 'none' })
  return { bus: createBus({ service: 'test', transport, logger: silentLogger, ...options }), transport }
}

describe('bus.encode', () => {
  it('makes the message that publish would send, before the bus is started', async () => {
    const { bus, transport } = made({ clock: manualClock() })
    const options = { headers: { a: 'b' }, id: 'm-1', ttlMs: 1_000 }
    const message = await bus.encode(Order, { id: 'o-1' }, options)
    await bus.start()
    await bus.publish(Order, { id: 'o-1' }, options)
    expect(transport.published).toEqual([[message]])
    expect(message).toMatchObject({
      topic: 'orders',
      key: 'o-1',
      id: 'm-1',
      source: 'test',
      expiresAt: message.time + 1_000,
    })
    await bus.close()
  })

  it('rejects with what publish would reject with', async () => {
    const { bus } = made()
    await expect(bus.encode(Order, { id: 5 } as never)).rejects.toMatchObject({ code: 'BUSBAR_VALIDATION' })
    await expect(bus.encode('not a topic', 1)).rejects.toMatchObject({ code: 'BUSBAR_VALIDATION' })
    await expect(bus.encode('t', () => {})).rejects.toMatchObject({ code: 'BUSBAR_CODEC' })
    await expect(bus.encode('t', new Uint8Array(2_000_000))).rejects.toMatchObject({ outcome: 'not-sent' })
    await expect(bus.encode('t', 1, { delayMs: 5 })).rejects.toMatchObject({ code: 'BUSBAR_UNSUPPORTED' })
    await expect(bus.encode('t', 1, { transport: 'x' })).rejects.toThrow('there is no transport "x"')
    await expect(bus.encode('t', 1, { kye: 'x' } as never)).rejects.toMatchObject({ code: 'BUSBAR_CONFIGURATION' })
    await bus.close()
    await expect(bus.encode('t', 1)).rejects.toMatchObject({ code: 'BUSBAR_STATE' })
  })

  it('continues the conversation that it is called in', async () => {
    const { bus } = made()
    const message = await bus.within({ correlationId: 'talk' }, () => bus.encode('t', 1))
    expect(message.correlationId).toBe('talk')
    await bus.close()
  })

  it('ends with its signal', async () => {
    const forever = {
      '~standard': { version: 1, vendor: 'test', validate: () => new Promise<never>(() => {}) },
    } as const
    const { bus } = made()
    const abort = new AbortController()
    const encoding = expect(bus.encode(defineEvent('t', forever), 1, { signal: abort.signal })).rejects.toMatchObject({
      code: 'BUSBAR_PUBLISH',
      outcome: 'not-sent',
    })
    abort.abort()
    await encoding
    await bus.close()
  })

  it('does not wait for publishes to its topic, and holds none of them up', async () => {
    let pass: () => void = () => {}
    const slow = {
      '~standard': {
        version: 1,
        vendor: 'test',
        validate: (value: unknown) =>
          new Promise<{ value: unknown }>((resolve) => (pass = (): void => resolve({ value }))),
      },
    } as const
    const { bus, transport } = made({ checkWire: 'off' })
    await bus.start()
    const first = bus.publish(defineEvent('t', slow), 1)
    const message = await bus.encode('t', 2)
    await bus.sendEncoded([message])
    expect(transport.published.flat()).toEqual([message])
    pass()
    await first
    await bus.close()
  })
})

describe('bus.sendEncoded', () => {
  it('sends messages of any topics in order, with a result for each', async () => {
    const { bus, transport } = made()
    await bus.start()
    const messages = [await bus.encode('a', 1), await bus.encode('b', 2, { key: 'k' }), await bus.encode('a', 3)]
    transport.answer = async (batch) =>
      batch.map(({ topic }) => (topic === 'b' ? { error: notSent() } : { position: { of: topic } }))
    expect(await bus.sendEncoded(messages)).toEqual([
      { id: messages[0]?.id, position: { of: 'a' } },
      { id: messages[1]?.id, error: notSent() },
      { id: messages[2]?.id, position: { of: 'a' } },
    ])
    expect(transport.published).toEqual([messages])
    expect(transport.published[0]?.[0]?.body).toBe(messages[0]?.body)
    expect(await bus.sendEncoded([])).toEqual([])
    await bus.close()
  })

  it('refuses a message that no transport could take, and sends the others', async () => {
    const { bus, transport } = made()
    await bus.start()
    const good = await bus.encode('a', 1)
    const results = await bus.sendEncoded([
      good,
      { ...good, topic: 'a.*' },
      { ...good, body: new Uint8Array(2_000_000) },
      { ...good, deliverAt: Date.now() + 60_000 },
      { ...good, id: '' },
      { ...good, body: 'text' as never },
      { ...good, headers: undefined as never },
      undefined as never,
    ])
    expect(results.map(({ error }) => (error as { code?: string } | undefined)?.code)).toEqual([
      undefined,
      'BUSBAR_VALIDATION',
      'BUSBAR_PUBLISH',
      'BUSBAR_UNSUPPORTED',
      'BUSBAR_VALIDATION',
      'BUSBAR_VALIDATION',
      'BUSBAR_VALIDATION',
      'BUSBAR_VALIDATION',
    ])
    expect(transport.published).toEqual([[good]])
    await bus.close()
  })

  it('sends to the given transport, and ends with its signal', async () => {
    const [first, second] = [new StubTransport(), new StubTransport()]
    const bus = createBus({ service: 'test', transports: { first, second }, logger: silentLogger })
    const message = await bus.encode('a', 1)
    await expect(bus.sendEncoded([message])).rejects.toMatchObject({ code: 'BUSBAR_STATE' })
    await bus.start()
    await bus.sendEncoded([message], { transport: 'second' })
    expect([first.published, second.published]).toEqual([[], [[message]]])
    expect(await bus.sendEncoded([message], { signal: AbortSignal.abort() })).toMatchObject([
      { error: { outcome: 'not-sent' } },
    ])
    await expect(bus.sendEncoded(message as never)).rejects.toMatchObject({ code: 'BUSBAR_CONFIGURATION' })
    await expect(bus.sendEncoded([message], { transport: 'third' })).rejects.toThrow('there is no transport "third"')
    await expect(bus.sendEncoded([message], { delayMs: 5 } as never)).rejects.toMatchObject({
      code: 'BUSBAR_CONFIGURATION',
    })
    await bus.close()
    await expect(bus.sendEncoded([message])).rejects.toMatchObject({ code: 'BUSBAR_STATE' })
  })

  it('takes a message that was stored as JSON and base64', async () => {
    const { bus, transport } = made()
    await bus.start()
    const message = await bus.encode(Order, { id: 'o-1' }, { headers: { a: 'b' } })
    const row = JSON.stringify({ ...message, body: Buffer.from(message.body ?? []).toString('base64') })
    const stored = JSON.parse(row) as OutgoingMessage & { body: string }
    const [result] = await bus.sendEncoded([{ ...stored, body: Buffer.from(stored.body, 'base64') }])
    expect(result?.error).toBeUndefined()
    expect(transport.published[0]?.[0]).toMatchObject({ id: message.id, key: 'o-1', headers: { a: 'b' } })
    await bus.close()
  })
})
