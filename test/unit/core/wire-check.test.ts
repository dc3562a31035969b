import { describe, expect, it } from 'vitest'
import * as z from 'zod'
import { createBus, defineEvent, silentLogger } from 'busbar'
import type { Bus, Codec, WireCheckMode } from 'busbar'
import { jsonCodec } from '../../../src/core/codec.ts'
import { WireCheck } from '../../../src/core/publish/wire-check.ts'
import { StubTransport } from './stub-transport.ts'

async function started(checkWire?: WireCheckMode): Promise<{ bus: Bus; transport: StubTransport }> {
  const transport = new StubTransport()
  const bus = createBus({ service: 'test', transport, logger: silentLogger, checkWire })
  await bus.start()
  return { bus, transport }
}

describe('data with a schema that JSON can not carry', () => {
  it('is refused at publish, with the field and the remedy', async () => {
    const { bus, transport } = await started()
    const Placed = defineEvent(
      'placed',
      z.object({ order: z.object({ at: z.date() }), tags: z.map(z.string(), z.number()) }),
    )
    const publish = (): Promise<unknown> =>
      bus.publish(Placed, { order: { at: new Date() }, tags: new Map([['a', 1]]) })
    await expect(publish()).rejects.toMatchObject({ code: 'BUSBAR_VALIDATION' })
    await expect(publish()).rejects.toThrow(
      /fits its schema, but a consumer reads it as application\/json.*order\.at: .*use z\.coerce\.date\(\).*tags: .*a Map becomes \{\}/s,
    )
    expect(transport.published).toEqual([])
    await bus.close()
  })

  it('passes when the schema describes what is on the wire, asynchronous ones too', async () => {
    const { bus, transport } = await started('always')
    const Fine = defineEvent('fine', z.object({ at: z.coerce.date(), n: z.number().default(1) }))
    const Async = defineEvent(
      'async',
      z.string().refine(async (text) => text !== ''),
    )
    await bus.publish(Fine, { at: new Date() })
    await bus.publish(Async, 'x')
    expect(transport.published.flat()).toHaveLength(2)
    await bus.close()
  })

  it('passes with a codec that carries it', async () => {
    const { bus } = await started('always')
    const codec: Codec = {
      contentType: 'application/x-date',
      encode: (data) => Buffer.from(String((data as Date).getTime())),
      decode: (body) => new Date(Number(Buffer.from(body).toString())),
    }
    await bus.publish(defineEvent('at', z.date(), { codec }), new Date())
    await bus.close()
  })
})

describe('plain data', () => {
  it.each<[unknown, string]>([
    [{ tags: new Map([['a', 1]]) }, 'tags: a Map becomes {}'],
    [[{ ids: new Set([1]) }], '0.ids: a Set becomes {}'],
    [{ price: Number.NaN }, 'price: NaN becomes null'],
    [Number.POSITIVE_INFINITY, 'Infinity becomes null'],
    [{ error: new Error('x') }, 'error: an Error loses its message'],
    [{ buffer: new ArrayBuffer(2) }, 'buffer: an ArrayBuffer becomes {}'],
    [{ body: Buffer.from('x') }, 'body: a Buffer becomes { type, data } in JSON'],
    [[1, undefined], '1: undefined becomes null in a JSON array'],
    [[{ list: [(): void => {}] }], '0.list.0: a function becomes null in a JSON array'],
    [{ total: (): number => 1 }, 'total: a function is left out of JSON'],
    [{ kind: Symbol('x') }, 'kind: a symbol is left out of JSON'],
    [{ bytes: new Uint8Array(2) }, 'bytes: a Uint8Array becomes an object of numbers'],
    [{ pattern: /x/ }, 'pattern: a RegExp becomes {}'],
  ])('%j is refused: %s', async (data, text) => {
    const { bus, transport } = await started()
    await expect(bus.publish('t', data)).rejects.toThrow(text)
    expect(transport.published).toEqual([])
    await bus.close()
  })

  it('is refused with nothing but the remedy when it holds a Promise', async () => {
    const { bus } = await started()
    await expect(bus.publish('t', { later: Promise.resolve(1) })).rejects.toThrow(
      /later: a Promise becomes \{\} in JSON: await it$/,
    )
    await bus.close()
  })

  it('passes when JSON carries it: dates as strings, instances as objects', async () => {
    const { bus, transport } = await started('always')
    class Point {
      x = 1
    }
    for (const data of [
      { at: new Date() },
      new Point(),
      null,
      [],
      {},
      { n: undefined },
      Object.create(null),
      Buffer.from('x'),
    ])
      await bus.publish('t', data)
    expect(transport.published.flat()).toHaveLength(8)
    await bus.close()
  })
})

describe('data that is a Promise', () => {
  it.each(['first', 'always', 'off'] as const)('is refused with %s, for any event, every time', async (mode) => {
    const { bus, transport } = await started(mode)
    const refused = { code: 'BUSBAR_VALIDATION', message: 'The data for "t" is a Promise: await it' }
    await bus.publish('t', 1)
    for (const target of ['t', defineEvent('t'), defineEvent('t', z.any())]) {
      await expect(bus.publish(target as string, Promise.resolve(1))).rejects.toMatchObject(refused)
      const [result] = await bus.publishMany(target as string, [{ data: Promise.resolve(1) }], { allowFailures: true })
      expect(result?.error).toMatchObject(refused)
    }
    expect(transport.published.flat()).toHaveLength(1)
    await bus.close()
  })
})

describe('the mode', () => {
  it('first looks at an event until it has passed, always at each, off at none', async () => {
    const bad = { tags: new Set() }
    for (const [mode, after, first] of [
      ['first', 'ok', 'refused'],
      ['always', 'refused', 'refused'],
      ['off', 'ok', 'ok'],
    ] as const) {
      const { bus } = await started(mode)
      const fate = (data: unknown): Promise<string> =>
        bus.publish('t', data).then(
          () => 'ok',
          () => 'refused',
        )
      expect([mode, await fate(bad), await fate({}), await fate(bad)]).toEqual([mode, first, 'ok', after])
      await bus.close()
    }
  })

  it('looks at a bounded part of a message, however long a list is', async () => {
    let reads = 0
    const list = new Proxy(
      Array.from({ length: 100_000 }, () => 1),
      {
        get(target, name, receiver): unknown {
          reads++
          return Reflect.get(target, name, receiver)
        },
      },
    )
    await new WireCheck('always').check('numbers', jsonCodec, { list }, Buffer.from('{}'))
    expect(reads).toBeGreaterThan(9_000)
    // Each value, and the length before it.
    expect(reads).toBeLessThan(21_000)
  })
})
