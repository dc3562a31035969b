import { afterEach, describe, expect, it } from 'vitest'
import { CodecError, createBus, defineEvent } from 'busbar'
import type { AsyncCodec, BatchConsumeOptions, Bus, ConsumeOptions, Message, StandardSchema } from 'busbar'
import { memory } from 'busbar/memory'
import { waitUntil } from 'busbar/testing'

/** A codec that answers later; it reverses the bytes, so that nothing else can read them. */
class SlowCodec implements AsyncCodec {
  readonly async = true
  readonly contentType = 'application/x-slow'
  decoded = 0
  /** Largest number of bodies that were being decoded at once. */
  most = 0
  #open = 0

  async encode(data: unknown): Promise<Uint8Array> {
    // The first takes longest.
    for (let turns = data === 0 ? 5 : 1; turns > 0; turns--) await turn()
    return Buffer.from(JSON.stringify(data)).reverse()
  }

  async decode(body: Uint8Array): Promise<unknown> {
    this.most = Math.max(this.most, ++this.#open)
    await turn()
    this.#open--
    this.decoded++
    try {
      return JSON.parse(Buffer.from(body).reverse().toString()) as unknown
    } catch (error) {
      throw new CodecError('The body is not a slow one', { cause: error })
    }
  }
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

const even: StandardSchema<number, string> = {
  '~standard': {
    version: 1,
    vendor: 'test',
    validate: (data) =>
      Number(data) % 2 === 0 ? { value: `even ${String(data)}` } : { issues: [{ message: 'is odd' }] },
  },
}

const open: Bus[] = []
afterEach(async () => {
  await Promise.all(open.splice(0).map((bus) => bus.close({ timeoutMs: 0 })))
})

function busWith(codec: AsyncCodec): Bus {
  const bus = createBus({ service: 'test', transport: memory(), codecs: [codec], logger: false })
  open.push(bus)
  return bus
}

/** A body that the codec can't read. */
function brokenBy(codec: SlowCodec): AsyncCodec {
  return {
    async: true,
    contentType: codec.contentType,
    encode: async () => Buffer.from('{'),
    decode: (body) => codec.decode(body),
  }
}

describe('an asynchronous codec', () => {
  it('keeps the order of publish, and decodes before the handler starts', async () => {
    const codec = new SlowCodec()
    const bus = busWith(codec)
    const Counted = defineEvent<number>('counted', { codec })
    const seen: unknown[] = []
    bus.consume(Counted, ({ data }) => void seen.push(data), { order: 'strict' })
    await bus.start()
    await Promise.all([0, 1, 2].map((number) => bus.publish(Counted, number)))
    await waitUntil(() => seen.length === 3)
    expect(seen).toEqual([0, 1, 2])
  })

  it('decodes again for each attempt, so that a handler can not spoil the data of the next', async () => {
    const codec = new SlowCodec()
    const bus = busWith(codec)
    const Listed = defineEvent<number[]>('listed', { codec })
    const seen: string[] = []
    bus.consume(
      Listed,
      ({ data }, ctx) => {
        seen.push(JSON.stringify(data))
        data.push(2)
        if (ctx.attempt === 1) throw new Error('again')
      },
      { retry: { baseMs: 1, mode: 'inline' } },
    )
    await bus.start()
    await bus.publish(Listed, [1])
    await waitUntil(() => seen.length === 2)
    expect(seen).toEqual(['[1]', '[1]'])
    expect(codec.decoded).toBe(2)
  })

  it.each<[string, ConsumeOptions | BatchConsumeOptions]>([
    ['a handler', {}],
    ['a batch handler', { batch: { size: 10, timeoutMs: 1 } }],
  ])(
    'dead-letters what it can not decode, and what does not fit the schema, without calling %s',
    async (_, options) => {
      const codec = new SlowCodec()
      const bus = busWith(codec)
      const Even = defineEvent('even', even as StandardSchema<unknown, string>, { codec })
      const seen: unknown[] = []
      const handle = (messages: Message<string> | readonly Message<string>[]): void => {
        for (const { data } of [messages].flat()) seen.push(data)
      }
      bus.consume(Even, handle as never, options as BatchConsumeOptions)
      await bus.start()
      await bus.publish(defineEvent<unknown>('even', { codec }), 1, { id: 'odd' })
      await bus.publish(defineEvent<unknown>('even', { codec: brokenBy(codec) }), 2, { id: 'broken' })
      await bus.publish(Even, 4, { id: 'fine' })
      const letters = bus.deadLetters('even')
      await waitUntil(async () => (await letters.list()).length === 2 && seen.length === 1)
      expect(seen).toEqual(['even 4'])
      const found = Object.fromEntries((await letters.list()).map((letter) => [letter.message.id, letter]))
      expect(found['odd']).toMatchObject({ reason: 'invalid', attempts: 1 })
      expect(found['broken']).toMatchObject({ reason: 'undecodable', attempts: 1 })
      // A list of dead letters can't wait for each of them.
      expect(() => found['odd']?.data()).toThrow(/asynchronous.*body/)
    },
  )

  it.each<[string, ConsumeOptions | BatchConsumeOptions]>([
    ['a handler', {}],
    ['a batch handler', { batch: { size: 10, timeoutMs: 1 } }],
  ])('that could not ask its registry is asked again in the next attempt, for %s', async (_, options) => {
    const codec = new SlowCodec()
    let decodes = 0
    const unreachable: AsyncCodec = {
      async: true,
      contentType: codec.contentType,
      encode: (data) => codec.encode(data),
      decode: async (body) => {
        if (++decodes < 3) throw new Error('the registry does not answer')
        return codec.decode(body)
      },
    }
    const bus = busWith(unreachable)
    const Counted = defineEvent<number>('counted', { codec: unreachable })
    const seen: unknown[] = []
    const handle = (messages: Message<number> | readonly Message<number>[]): void => {
      for (const { data } of [messages].flat()) seen.push(data)
    }
    bus.consume(Counted, handle as never, { ...options, retry: { baseMs: 1 } } as BatchConsumeOptions)
    await bus.start()
    await bus.publish(Counted, 1)
    await waitUntil(() => seen.length === 1)
    expect([seen, decodes]).toEqual([[1], 3])
    expect(await bus.deadLetters('counted').list()).toEqual([])
  })

  it('decodes the messages of a batch side by side, a bounded number at once', async () => {
    const codec = new SlowCodec()
    const bus = busWith(codec)
    const Counted = defineEvent<number>('counted', { codec })
    const batches: number[][] = []
    bus.consume(Counted, (messages) => void batches.push(messages.map(({ data }) => data)), {
      batch: { size: 100, timeoutMs: 1_000 },
    })
    await bus.start()
    const items = Array.from({ length: 100 }, (_, data) => ({ data }))
    await bus.publishMany(Counted, items)
    await waitUntil(() => batches.length === 1)
    expect(batches).toEqual([items.map(({ data }) => data)])
    expect(codec.most).toBe(32)
  })
})

describe('a handler whose message is prepared too late', () => {
  it.each<[string, ConsumeOptions | BatchConsumeOptions]>([
    ['alone', {}],
    ['in a batch', { batch: { size: 1, timeoutMs: 1 } }],
  ])('does not start beside the next attempt: %s', async (_, options) => {
    const schema: StandardSchema<number, number> = {
      '~standard': {
        version: 1,
        vendor: 'test',
        validate: async (value) => {
          if (++validated === 1) await first.promise
          return { value: Number(value) }
        },
      },
    }
    let validated = 0
    const first = Promise.withResolvers<void>()
    const Late = defineEvent('late', schema)
    const bus = createBus({ service: 'test', transport: memory(), logger: false })
    open.push(bus)
    let handled = 0
    bus.consume(Late, () => void handled++, {
      timeoutMs: 5,
      abandonAfterMs: 5,
      retry: { mode: 'inline', baseMs: 1 },
      ...options,
    } as BatchConsumeOptions)
    await bus.start()
    await bus.publish(defineEvent<number>('late'), 1)
    await waitUntil(() => handled === 1)
    first.resolve()
    await turn()
    await turn()
    expect(handled).toBe(1)
  })

  it('does not start after its consumer was closed by force', async () => {
    const begun = Promise.withResolvers<void>()
    const slow = Promise.withResolvers<void>()
    const Late = defineEvent('late', {
      '~standard': {
        version: 1,
        vendor: 'test',
        validate: async (value) => {
          begun.resolve()
          await slow.promise
          return { value }
        },
      },
    } as StandardSchema<unknown, unknown>)
    const bus = createBus({ service: 'test', transport: memory(), logger: false })
    open.push(bus)
    let handled = 0
    bus.consume(Late, () => void handled++)
    await bus.start()
    await bus.publish(defineEvent<number>('late'), 1)
    await begun.promise
    await bus.close({ timeoutMs: 0 })
    slow.resolve()
    await turn()
    expect(handled).toBe(0)
  })
})
