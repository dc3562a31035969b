import { promisify } from 'node:util'
import { gzip, unzip } from 'node:zlib'
import { describe, expect, it, vi } from 'vitest'
import { createBus, defineEvent, silentLogger } from 'busbar'
import type {
  AsyncCodec,
  Bus,
  BusOptions,
  OutgoingMessage,
  PublishCall,
  PublishMiddleware,
  PublishResult,
  PublishStep,
} from 'busbar'
import { memory } from 'busbar/memory'
import { manualClock, seededRandom } from 'busbar/testing'
import type { ManualClock } from 'busbar/testing'
import { notSent, StubTransport } from './stub-transport.ts'

async function started(
  publishMiddleware: readonly PublishMiddleware[],
  options: Partial<BusOptions> = {},
): Promise<{ bus: Bus; transport: StubTransport; clock: ManualClock }> {
  const transport = new StubTransport()
  const clock = manualClock()
  const bus = createBus({ service: 'test', transport, clock, logger: silentLogger, publishMiddleware, ...options })
  await bus.start()
  return { bus, transport, clock }
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

function sent(transport: StubTransport): string[] {
  return transport.published.flat().map(({ topic, body }) => `${topic} ${Buffer.from(body ?? []).toString()}`)
}

/** A middleware that holds each call until the test lets its first item's data pass. */
function held(): { middleware: PublishMiddleware; readonly open: Map<unknown, () => void> } {
  const open = new Map<unknown, () => void>()
  const middleware: PublishMiddleware = (next) => async (call) => {
    const data = call.items[0]?.data
    await new Promise<void>((resolve) => open.set(data, resolve))
    return next(call)
  }
  return { middleware, open }
}

function results(call: PublishCall): readonly PublishResult[] {
  return call.items.map(({ id }) => ({ id, position: undefined }))
}

describe('transform of an item', () => {
  const compress: PublishMiddleware = (next) => (call) =>
    next({
      ...call,
      items: call.items.map((item) => ({
        ...item,
        transform: async (message) => ({
          ...message,
          body: await promisify(gzip)(message.body ?? ''),
          contentType: 'application/gzip',
          headers: { ...message.headers, plain: message.contentType },
        }),
      })),
    })

  it('changes the encoded bytes, which a codec of the consumer reads, in the order of the calls', async () => {
    const gunzip: AsyncCodec = {
      async: true,
      contentType: 'application/gzip',
      encode: () => Promise.reject(new Error('only reads')),
      decode: async (body) => JSON.parse((await promisify(unzip)(body)).toString()) as unknown,
    }
    const transport = memory()
    const options = { service: 'test', transport, logger: silentLogger, codecs: [gunzip] }
    const bus = createBus({ ...options, publishMiddleware: [compress] })
    const seen: unknown[] = []
    bus.consume('orders', ({ data, headers }) => void seen.push([data, headers['plain']]), { order: 'strict' })
    await bus.start()
    await Promise.all([bus.publish('orders', { big: 'x'.repeat(10_000) }), bus.publish('orders', 2)])
    await vi.waitFor(() => expect(seen).toHaveLength(2))
    expect(seen).toEqual([
      [{ big: 'x'.repeat(10_000) }, 'application/json'],
      [2, 'application/json'],
    ])
    expect(transport.messages('orders')[0]?.body?.byteLength).toBeLessThan(200)
    const { contentType } = await bus.encode('orders', 3)
    expect(contentType).toBe('application/gzip')
    await bus.close()
  })

  it.each([
    ['another topic', (message: OutgoingMessage) => ({ ...message, topic: 'other' })],
    ['no message', () => undefined as never],
    ['a body that is not bytes', (message: OutgoingMessage) => ({ ...message, body: 'text' as never })],
  ])('is refused with %s', async (_, transform) => {
    const { bus, transport } = await started([
      (next) => (call) => next({ ...call, items: call.items.map((item) => ({ ...item, transform })) }),
    ])
    await expect(bus.publish('orders', 1)).rejects.toThrow('must return the message with the same id, topic and key')
    expect(transport.published).toEqual([])
    await bus.close()
  })

  it('that throws fails its message alone, and a user can not give one', async () => {
    const { bus, transport } = await started([
      (next) => (call) =>
        next({
          ...call,
          items: call.items.map((item) => ({
            ...item,
            transform: (message) => {
              if (item.data === 2) throw new Error('no key')
              return message
            },
          })),
        }),
    ])
    const published = await bus.publishMany('orders', [{ data: 1 }, { data: 2 }, { data: 3 }], { allowFailures: true })
    expect(published.map(({ error }) => error?.message)).toEqual([undefined, 'no key', undefined])
    expect(sent(transport)).toEqual(['orders 1', 'orders 3'])
    await bus.close()
    const plain = await started([])
    await expect(plain.bus.publish('orders', 1, { transform: () => {} } as never)).rejects.toThrow(
      'transform: is not a known option',
    )
    await plain.bus.close()
  })
})

describe('publish middleware', () => {
  it('runs for everything that publishes or encodes, once per call, but not for redrives and encoded messages', async () => {
    const seen: string[] = []
    const note: PublishMiddleware = (next) => (call) => {
      const { topic, items, mode, handled, transport, event } = call
      seen.push(`${mode} ${items.length} ${topic} by ${handled?.topic ?? 'bus'} to ${transport} ${event === undefined}`)
      return next(call)
    }
    const transport = memory()
    const bus = createBus({ service: 'test', transport, logger: silentLogger, publishMiddleware: [note] })
    bus.consume(
      'orders',
      async (_message, ctx) => {
        await ctx.publish('paid', 1)
        await ctx.publishMany('paid', [{ data: 2 }, { data: 3 }])
        await bus.publish('paid', 4)
        throw new Error('no')
      },
      { retry: false },
    )
    await bus.start()
    const died = bus.events.once('deadLetter')
    await bus.publish(defineEvent('orders'), 1)
    await died
    expect(seen.splice(0)).toEqual([
      'send 1 orders by bus to main false',
      'send 1 paid by orders to main true',
      'send 2 paid by orders to main true',
      'send 1 paid by orders to main true',
    ])
    const again = bus.events.once('deadLetter')
    expect(await bus.deadLetters('orders').redrive()).toMatchObject({ redriven: 1, failed: [] })
    await again
    expect(seen.splice(0)).toHaveLength(3)
    const message = await bus.encode('stored', { n: 1 })
    await bus.sendEncoded([message])
    expect(seen).toEqual(['encode 1 stored by bus to main true'])
    expect(transport.messages('stored').map(({ id }) => id)).toEqual([message.id])
    await bus.close()
  })

  it('is composed once, and sent at once if it does not wait', async () => {
    const wrap = vi.fn((next: PublishStep): PublishStep => next)
    const { bus, transport } = await started([wrap])
    const published = Array.from({ length: 3 }, (_, n) => bus.publish('t', n))
    await Promise.all(published)
    expect(wrap).toHaveBeenCalledTimes(1)
    expect(transport.published.map(({ length }) => length)).toEqual([3])
    await bus.close()
  })

  it('changes data, headers and options, from the first on', async () => {
    const add =
      (name: string): PublishMiddleware =>
      (next) =>
      (call) =>
        next({
          ...call,
          items: call.items.map((item) => ({
            ...item,
            data: `${item.data as string}${name}`,
            headers: { ...item.headers, [name]: name },
          })),
        })
    const { bus, transport } = await started([add('a'), add('b')])
    await bus.publishMany('t', [
      { data: '1', headers: { own: 'x' } },
      { data: '2', key: 'k' },
    ])
    expect(sent(transport)).toEqual(['t "1ab"', 't "2ab"'])
    expect(transport.published.flat().map(({ headers, key }) => ({ ...headers, key }))).toEqual([
      { own: 'x', a: 'a', b: 'b', key: undefined },
      { a: 'a', b: 'b', key: 'k' },
    ])
    await bus.close()
  })

  it('refuses by throwing, at once or later: publish rejects with the error, publishMany gives it to each item', async () => {
    for (const isLater of [false, true]) {
      const refuse: PublishMiddleware = () => (): Promise<never> => {
        if (!isLater) throw new TypeError('not you')
        return turn().then(() => Promise.reject(new TypeError('not you')))
      }
      const { bus, transport } = await started([refuse])
      await expect(bus.publish('t', 1)).rejects.toThrow(TypeError)
      const given = await bus.publishMany('t', [{ data: 1, id: 'a' }, { data: 2 }], { allowFailures: true })
      expect(given.map(({ error }) => error?.message)).toEqual(['not you', 'not you'])
      expect(given[0]?.id).toBe('a')
      await expect(bus.encode('t', 1)).rejects.toThrow(TypeError)
      expect(sent(transport)).toEqual([])
      await bus.close()
    }
  })

  it('sees a message that was not published as a result with an error', async () => {
    const seen: unknown[] = []
    const look: PublishMiddleware = (next) => async (call) => {
      const given = await next(call)
      seen.push(...given.map(({ error }) => error?.name))
      return given
    }
    const { bus, transport } = await started([look])
    await expect(bus.publish('t', () => {})).rejects.toMatchObject({ code: 'BUSBAR_CODEC' })
    await expect(bus.publish('t', 1, { key: 'a\nb' })).rejects.toMatchObject({ code: 'BUSBAR_VALIDATION' })
    transport.answer = async (batch) => batch.map(() => ({ error: notSent() }))
    await expect(bus.publish('t', 1)).rejects.toMatchObject({ outcome: 'not-sent' })
    expect(seen).toEqual(['CodecError', 'ValidationError', 'PublishError'])
    await bus.close()
  })

  it('may send again: the messages keep their ids', async () => {
    const retry: PublishMiddleware = (next) => async (call) => {
      const first = await next(call)
      return first.some(({ error }) => error !== undefined) ? next(call) : first
    }
    const copy: PublishMiddleware = (next) => (call) =>
      next({ ...call, items: call.items.map((item) => ({ ...item, headers: { copied: 'yes' } })) })
    const { bus, transport } = await started([retry, copy])
    transport.answer = async (batch) =>
      batch.map(() => (transport.published.length === 1 ? { error: notSent() } : { position: { at: 1 } }))
    const { id, position } = await bus.publish('t', 1)
    expect(position).toEqual({ at: 1 })
    expect(transport.published.map((batch) => batch.map((message) => message.id))).toEqual([[id], [id]])
    await bus.close()
  })

  it('keeps the order of the calls of a topic, whichever call it lets pass first', async () => {
    const { middleware, open } = held()
    const some: PublishMiddleware = (next) => {
      const hold = middleware(next)
      return (call) => (call.items[0]?.data === 'fast' ? next(call) : hold(call))
    }
    const { bus, transport } = await started([some])
    const all = [bus.publish('t', 1), bus.publish('t', 'fast'), bus.publishMany('t', [{ data: 2 }, { data: 3 }])]
    all.push(bus.publish('u', 'fast'))
    open.get(2)?.()
    await turn()
    expect(sent(transport)).toEqual(['u "fast"'])
    open.get(1)?.()
    await Promise.all(all)
    expect(sent(transport)).toEqual(['u "fast"', 't 1', 't "fast"', 't 2', 't 3'])
    await bus.publish('t', 'fast')
    await bus.close()
  })

  it('keeps the order with asynchronous schemas behind it', async () => {
    const { middleware, open } = held()
    const waits: ((accept: boolean) => void)[] = []
    const Slow = defineEvent<number, number>('t', {
      '~standard': {
        version: 1,
        vendor: 'test',
        validate: (data) =>
          new Promise((resolve) => {
            waits.push((accept) => resolve(accept ? { value: data as number } : { issues: [{ message: 'no' }] }))
          }),
      },
    })
    const { bus, transport } = await started([middleware], { checkWire: 'off' })
    const first = bus.publish(Slow, 1)
    const second = bus.publish('t', 2)
    const third = bus.publish(Slow, 3)
    for (const pass of open.values()) pass()
    await turn()
    expect(sent(transport)).toEqual([])
    waits[1]?.(false)
    await expect(third).rejects.toMatchObject({ code: 'BUSBAR_VALIDATION' })
    waits[0]?.(true)
    await Promise.all([first, second])
    expect(sent(transport)).toEqual(['t 1', 't 2'])
    await bus.close()
  })

  it('may keep messages: a call that never calls next gives its turn up when it ends', async () => {
    const kept: unknown[] = []
    const capture: PublishMiddleware = (next) => async (call) => {
      if (call.items[0]?.data !== 'keep') return next(call)
      await turn()
      kept.push(...call.items.map(({ id }) => id))
      return results(call)
    }
    const { bus, transport } = await started([capture])
    const first = bus.publish('t', 'keep')
    const second = bus.publish('t', 2)
    expect(sent(transport)).toEqual([])
    expect(kept).toEqual([(await first).id])
    await second
    expect(sent(transport)).toEqual(['t 2'])
    await bus.close()
  })

  it('may return before what it sent is confirmed; that still ends by itself', async () => {
    const ahead: PublishMiddleware = (next) => async (call) => {
      void next(call)
      return results(call)
    }
    const { bus, transport } = await started([ahead])
    let confirm: () => void = () => {}
    transport.answer = (batch) =>
      new Promise((resolve) => {
        confirm = (): void => resolve(batch.map(() => ({ position: undefined })))
      })
    await bus.publish('t', 1)
    await turn()
    expect(sent(transport)).toEqual(['t 1'])
    let closed = false
    const closing = bus.close().then(() => (closed = true))
    await turn()
    expect(closed).toBe(false)
    confirm()
    await closing
  })
})

describe('a publish middleware that does not answer', () => {
  it('is given up at the deadline; what it passes on later is not sent', async () => {
    const { middleware, open } = held()
    const late: unknown[] = []
    const look: PublishMiddleware = (next) => (call) => {
      const answer = next(call)
      void answer.then((given) => late.push(given[0]?.error?.message))
      return answer
    }
    const { bus, transport, clock } = await started([middleware, look], { publish: { deliveryTimeoutMs: 1_000 } })
    const lost = expect(bus.publish('t', 1)).rejects.toMatchObject({
      code: 'BUSBAR_PUBLISH',
      outcome: 'not-sent',
      retryable: true,
      message: expect.stringContaining('waited 1000 ms for a schema, a codec or a publish middleware') as string,
    })
    const many = bus.publishMany('u', [{ data: 2, id: 'a' }, { data: 3 }], { allowFailures: true })
    const encoded = expect(bus.encode('v', 4)).rejects.toMatchObject({ outcome: 'not-sent' })
    await clock.advance(500)
    const next = bus.publish('t', 5)
    open.get(5)?.()
    await clock.advance(550)
    await Promise.all([lost, encoded, next])
    expect((await many).map(({ error }) => error?.name)).toEqual(['PublishError', 'PublishError'])
    open.get(1)?.()
    await turn()
    expect(late).toContainEqual(expect.stringContaining('waited 1000 ms'))
    expect(sent(transport)).toEqual(['t 5'])
    await bus.close()
  })

  it('after it has sent the message: the outcome is unknown', async () => {
    const hang: PublishMiddleware = (next) => async (call) => {
      await next(call)
      return new Promise(() => {})
    }
    const { bus, transport, clock } = await started([hang], { publish: { deliveryTimeoutMs: 1_000 } })
    const given = expect(bus.publish('t', 1)).rejects.toMatchObject({
      outcome: 'unknown',
      message: expect.stringContaining('after the message had been sent') as string,
    })
    await turn()
    expect(sent(transport)).toEqual(['t 1'])
    await clock.advance(1_050)
    await given
    transport.answer = async (batch) => batch.map(() => ({ error: notSent() }))
    const refused = expect(bus.publish('t', 1)).rejects.toMatchObject({ outcome: 'not-sent' })
    await turn()
    await clock.advance(1_050)
    await refused
    await bus.close()
  })

  it('leaves the time of the broker to the broker', async () => {
    const { bus, transport, clock } = await started([(next) => (call) => next(call)], {
      publish: { deliveryTimeoutMs: 1_000 },
    })
    transport.answer = () => new Promise(() => {})
    const given = expect(bus.publish('t', 1)).rejects.toMatchObject({
      outcome: 'unknown',
      message: expect.stringContaining('transport "main" (stub) got no answer') as string,
    })
    await turn()
    await clock.advance(1_050)
    await turn()
    await given
    await bus.close({ timeoutMs: 0 })
  })

  it('ends with the signal of the call', async () => {
    const { middleware, open } = held()
    const { bus, transport } = await started([middleware])
    const abort = new AbortController()
    const lost = expect(bus.publish('t', 1, { signal: abort.signal })).rejects.toMatchObject({
      outcome: 'not-sent',
      cause: 'enough',
    })
    const next = bus.publish('t', 2)
    open.get(2)?.()
    abort.abort('enough')
    await Promise.all([lost, next])
    await expect(bus.publish('t', 3, { signal: abort.signal })).rejects.toMatchObject({ outcome: 'not-sent' })
    expect(open.has(3)).toBe(false)
    expect(sent(transport)).toEqual(['t 2'])
    await bus.close()
  })

  it('does not hold up close when its signal is not an AbortSignal', async () => {
    const { bus } = await started([(next) => (call) => next(call)])
    await expect(bus.publish('t', 1, { signal: {} as AbortSignal })).rejects.toThrow(TypeError)
    await bus.close()
  })

  it('ends with the signal while its message waits behind another', async () => {
    const { middleware, open } = held()
    const { bus, transport } = await started([middleware])
    const abort = new AbortController()
    const first = bus.publish('t', 1)
    const lost = expect(bus.publish('t', 2, { signal: abort.signal })).rejects.toMatchObject({ outcome: 'not-sent' })
    open.get(2)?.()
    await turn()
    abort.abort()
    await lost
    open.get(1)?.()
    await first
    expect(sent(transport)).toEqual(['t 1'])
    await bus.close()
  })

  it('is waited for by close, until the time is up', async () => {
    const { middleware, open } = held()
    const { bus, transport } = await started([middleware])
    const first = bus.publish('t', 1)
    const closing = bus.close({ timeoutMs: 60_000 })
    await turn()
    expect(bus.state).toBe('draining')
    open.get(1)?.()
    await Promise.all([closing, first])
    expect(sent(transport)).toEqual(['t 1'])
    await expect(bus.encode('t', 1)).rejects.toMatchObject({ code: 'BUSBAR_STATE' })

    const hang: PublishMiddleware = (next) => async (call) => {
      if (call.items[0]?.data === 'sent') await next(call)
      return new Promise(() => {})
    }
    const second = await started([hang])
    const lost = expect(second.bus.publish('t', 'held')).rejects.toMatchObject({
      outcome: 'not-sent',
      message: /closed/,
    })
    const unknown = expect(second.bus.publish('u', 'sent')).rejects.toMatchObject({ outcome: 'unknown' })
    await turn()
    await second.bus.close({ timeoutMs: 0 })
    await Promise.all([lost, unknown])
  })

  it('learns from close what became of its messages', async () => {
    const seen: unknown[] = []
    const look: PublishMiddleware = (next) => async (call) => {
      const given = await next(call)
      seen.push(given[0]?.error?.message)
      return given
    }
    const { bus, transport } = await started([look])
    transport.answer = () => new Promise(() => {})
    const lost = expect(bus.publish('t', 1)).rejects.toMatchObject({ outcome: 'unknown', message: /bus was closed/ })
    await turn()
    await bus.close({ timeoutMs: 0 })
    await lost
    expect(seen).toEqual([expect.stringContaining('bus was closed')])
  })
})

describe('a publish in a publish middleware', () => {
  /** Publishes `before <data>` to the same topic and waits for it, for data that are numbers. */
  function nesting(bus: () => Bus, wait: () => Promise<void>): PublishMiddleware {
    return (next) => async (call) => {
      const data = call.items[0]?.data
      if (typeof data === 'number') {
        await wait()
        await bus().publish(call.topic, `before ${data}`)
      }
      return next(call)
    }
  }

  it('to the same topic goes ahead of the messages that middleware holds', async () => {
    for (const wait of [turn, async (): Promise<void> => {}]) {
      const { bus, transport } = await started([nesting(() => bus, wait)])
      await Promise.all([bus.publish('t', 1), bus.publish('t', 2), bus.publish('t', 'last')])
      const order = sent(transport)
      expect(order.filter((each) => !each.includes('before'))).toEqual(['t 1', 't 2', 't "last"'])
      expect(order.indexOf('t "before 1"')).toBe(0)
      expect(order.indexOf('t "before 2"')).toBeLessThan(order.indexOf('t 2'))
      await bus.close()
    }
  })

  it('keeps its order when it publishes too, and within another conversation', async () => {
    const nest: PublishMiddleware = (next) => async (call) => {
      const data = call.items[0]?.data as string
      await turn()
      if (data.length < 3) await bus.within({ correlationId: 'c' }, () => bus.publish('t', `${data}x`))
      return next(call)
    }
    const { bus, transport } = await started([nest])
    await Promise.all([bus.publish('t', 'a'), bus.publish('t', 'b')])
    expect(sent(transport)).toEqual(['t "axx"', 't "bxx"', 't "ax"', 't "bx"', 't "a"', 't "b"'])
    await bus.close()
  })

  it('waits for none that waits for it, whichever topics they are of', async () => {
    const cross: PublishMiddleware = (next) => async (call) => {
      await turn()
      if (call.items[0]?.data === 'outer') await bus.publish(call.topic === 't' ? 'u' : 't', 'inner')
      return next(call)
    }
    const { bus, transport } = await started([cross])
    await Promise.all([bus.publish('t', 'outer'), bus.publish('u', 'outer')])
    expect(sent(transport)).toEqual(['u "inner"', 't "inner"', 't "outer"', 'u "outer"'])
    await bus.close()
  })

  it('overtakes no message that no middleware holds any more', async () => {
    let accept: () => void = () => {}
    const Slow = defineEvent('t', {
      '~standard': {
        version: 1,
        vendor: 'test',
        validate: (value: unknown) =>
          new Promise<{ value: unknown }>((resolve) => (accept = (): void => resolve({ value }))),
      },
    })
    const nest: PublishMiddleware = (next) => async (call) => {
      if (call.topic === 'u') await bus.publish('t', 'inner')
      return next(call)
    }
    const { bus, transport } = await started([nest], { checkWire: 'off' })
    const all = [bus.publish(Slow, 1), bus.publish('u', 2)]
    await turn()
    expect(sent(transport)).toEqual([])
    accept()
    await Promise.all(all)
    expect(sent(transport)).toEqual(['t 1', 't "inner"', 'u 2'])
    await bus.close()
  })

  it('that the middleware starts and leaves behind is like any other', async () => {
    let later: Promise<unknown> | undefined
    const leave: PublishMiddleware = (next) => async (call) => {
      if (call.items[0]?.data === 1) later = turn().then(() => bus.publish('t', 'left behind'))
      else if (call.items[0]?.data === 2) await later
      return next(call)
    }
    const { middleware, open } = held()
    const { bus, transport } = await started([leave, middleware])
    const first = bus.publish('t', 1)
    open.get(1)?.()
    await first
    const second = bus.publish('t', 3)
    await turn()
    open.get('left behind')?.()
    await turn()
    expect(sent(transport)).toEqual(['t 1'])
    open.get(3)?.()
    await Promise.all([second, later])
    expect(sent(transport)).toEqual(['t 1', 't 3', 't "left behind"'])
    await bus.close()
  })

  it('to another topic keeps the order of the calls there', async () => {
    const audit: PublishMiddleware = (next) => async (call) => {
      if (call.topic === 'audit') {
        if (call.items[0]?.data === 1) await turn()
        return next(call)
      }
      await bus.publish('audit', call.items[0]?.data)
      return next(call)
    }
    const { bus, transport } = await started([audit])
    await Promise.all([bus.publish('t', 1), bus.publish('t', 2)])
    expect(sent(transport)).toEqual(['audit 1', 'audit 2', 't 1', 't 2'])
    await bus.close()
  })

  it('and publishes of handlers that it sets off: these have their own turn', async () => {
    const { bus, transport } = await started([nesting(() => bus, turn)])
    let handled: Promise<unknown> | undefined
    transport.answer = async (batch) => {
      handled ??= bus.publish('t', 'from a handler')
      return batch.map(() => ({ position: undefined }))
    }
    await bus.publish('t', 1)
    await handled
    expect(sent(transport)).toEqual(['t "before 1"', 't 1', 't "from a handler"'])
    await bus.close()
  })

  it('continues the conversation of the handled message', async () => {
    const nest: PublishMiddleware = (next) => async (call) => {
      if (call.topic === 'next') await bus.publish('nested', 1)
      return next(call)
    }
    const transport = memory()
    const bus = createBus({ service: 'test', transport, logger: silentLogger, publishMiddleware: [nest] })
    bus.consume('first', (_message, ctx) => ctx.publish('next', 1))
    await bus.start()
    const acked = bus.events.once('ack')
    const { id } = await bus.publish('first', 1)
    await acked
    expect(transport.messages('nested')[0]).toMatchObject({ causationId: id, correlationId: id })
    await bus.close()
  })
})

describe('publishes with everything at once', () => {
  it('keep the order of the calls of a topic, and all end', async () => {
    for (let seed = 1; seed <= 60; seed++) await publishAtRandom(seed)
  })

  /** The data of each call is its number; those that a middleware publishes have a longer name. */
  async function publishAtRandom(seed: number): Promise<void> {
    const random = seededRandom(seed)
    const pause = async (): Promise<void> => {
      for (let count = random.integer(0, 3); count > 0; count--) await (random.chance(0.5) ? turn() : undefined)
    }
    const slow = {
      '~standard': {
        version: 1,
        vendor: 'test',
        validate: (value: unknown) =>
          random.chance(0.5) ? { value } : pause().then(() => (random.chance(0.9) ? { value } : { issues: [] })),
      },
    } as const
    const events = ['a', 'b'].map((topic) => defineEvent(topic, slow))
    const ended: Promise<unknown>[] = []
    const publish = (name: string): Promise<unknown> => {
      const signal = random.chance(0.1) ? new AbortController() : undefined
      const event = random.pick(events)
      const published = random.chance(0.3)
        ? bus.publishMany(event, [{ data: name }, { data: `${name}'` }], { signal: signal?.signal })
        : bus.publish(event, name, { signal: signal?.signal })
      if (signal !== undefined) void pause().then(() => signal.abort())
      const end = published.then(
        () => {},
        () => {},
      )
      ended.push(end)
      return end
    }
    const outer: PublishMiddleware = (next) => async (call) => {
      const name = String(call.items[0]?.data)
      if (random.chance(0.5)) await pause()
      if (random.chance(0.2) && name.length < 8) await publish(`${name}.n`)
      if (random.chance(0.1)) throw new Error('refused')
      if (random.chance(0.1)) return results(call)
      const given = await next(call)
      if (random.chance(0.2)) await pause()
      return given
    }
    const inner: PublishMiddleware = (next) => (call) =>
      random.chance(0.5) ? next(call) : pause().then(() => next({ ...call, items: [...call.items] }))
    const { bus, transport } = await started([outer, inner], { checkWire: 'off' })
    transport.answer = async (batch) => {
      await pause()
      return batch.map(() => (random.chance(0.1) ? { error: notSent() } : { position: undefined }))
    }
    for (let number = 100; number < 140; number++) {
      void publish(String(number))
      if (random.chance(0.3)) await pause()
    }
    for (const end of ended) await end
    await bus.close()
    expect(transport.published.flat().length).toBeGreaterThan(10)
    for (const { topic } of events) {
      const order = transport.published
        .flat()
        .filter((message) => message.topic === topic)
        .map(({ body }) => JSON.parse(Buffer.from(body ?? []).toString()) as string)
      const own = order.filter((name) => /^\d+'?$/.test(name))
      expect(own, `topic ${topic}, seed ${seed}`).toEqual(own.toSorted())
    }
  }
})

describe('a broken publish middleware', () => {
  it('that returns no result for each item is named, and nothing counts as published', async () => {
    const wrong: readonly [unknown, string][] = [
      [undefined, 'returned undefined'],
      [[], 'returned 0 results for 1 items'],
      [[undefined], 'result 0 has no id'],
      [[{ position: undefined }], 'result 0 has no id'],
      [[{ id: 'a', error: 'no' }], 'the error of result 0 is not an Error'],
    ]
    for (const [returned, problem] of wrong) {
      const forgetful: PublishMiddleware = (next) => async (call) => {
        if (call.topic === 'sent') await next(call)
        return returned as never
      }
      const { bus } = await started([(next) => (call) => next(call), forgetful])
      const message = `The publish middleware "forgetful" (publishMiddleware.1) must return the results of next(call), or one { id, position } or { id, error } for each item, but ${problem}`
      await expect(bus.publish('t', 1)).rejects.toMatchObject({ code: 'BUSBAR_PUBLISH', outcome: 'not-sent', message })
      await expect(bus.publish('sent', 1)).rejects.toMatchObject({ outcome: 'unknown', message })
      expect(await bus.publishMany('t', [{ data: 1 }], { allowFailures: true })).toMatchObject([{ error: { message } }])
      await bus.close()
    }
  })

  it('that changes more than the items is refused', async () => {
    const change =
      (call: (call: PublishCall) => unknown): PublishMiddleware =>
      (next) =>
      (given) =>
        next(call(given) as PublishCall)
    const wrong: readonly [(call: PublishCall) => unknown, string][] = [
      [(call) => ({ ...call, topic: 'u' }), 'may only change the items'],
      [(call) => ({ ...call, signal: AbortSignal.timeout(1) }), 'may only change the items'],
      [(call) => ({ ...call, items: undefined }), 'items must be a list'],
      [(call) => ({ items: call.items }), 'next takes the call'],
      [() => undefined, 'next takes the call'],
    ]
    for (const [bad, problem] of wrong) {
      const { bus, transport } = await started([change(bad)])
      await expect(bus.publish('t', 1)).rejects.toMatchObject({
        code: 'BUSBAR_CONFIGURATION',
        message: expect.stringContaining(problem) as string,
      })
      expect(sent(transport)).toEqual([])
      await bus.close()
    }
  })

  it('that calls next after its call has ended sends nothing', async () => {
    let late: Promise<readonly PublishResult[]> | undefined
    const tardy: PublishMiddleware = (next) => async (call) => {
      late = turn().then(() => next(call))
      return results(call)
    }
    const { bus, transport } = await started([tardy])
    await bus.publish('t', 1)
    expect(await late).toMatchObject([{ error: { code: 'BUSBAR_STATE' } }])
    expect(sent(transport)).toEqual([])
    await bus.close()
  })

  it('is refused by createBus when it is not middleware', () => {
    const make = (publishMiddleware: unknown) => (): Bus =>
      createBus({ service: 'test', transport: new StubTransport(), publishMiddleware: publishMiddleware as never })
    expect(make([{}])).toThrow('publishMiddleware.0: must be a function')
    const nothing = (): undefined => undefined
    expect(make([nothing])).toThrow('publishMiddleware.0: "nothing" must return a step')
  })

  it('that does not call next for bus.encode leaves no message', async () => {
    const capture: PublishMiddleware = () => async (call) => results(call)
    const { bus } = await started([capture])
    await expect(bus.encode('t', 1)).rejects.toMatchObject({
      code: 'BUSBAR_PUBLISH',
      message: expect.stringContaining('without calling next') as string,
    })
    await bus.close()
  })
})
