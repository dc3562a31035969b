import { describe, expect, it } from 'vitest'
import { BusbarError, createBus, ExtensionError, silentLogger } from 'busbar'
import type { Bus, BusExtension, BusOptions, ExtensionHealth, Logger } from 'busbar'
import { manualClock } from 'busbar/testing'
import type { ManualClock } from 'busbar/testing'
import { delivery, StubTransport } from './stub-transport.ts'
import { turn } from './stage.ts'

interface Made {
  readonly bus: Bus
  readonly transport: StubTransport
  readonly clock: ManualClock
  /** What happened, in order. */
  readonly log: string[]
  /** An extension that logs its calls; `change` replaces some of its methods, which are logged as well. */
  readonly extension: (name: string, change?: Partial<BusExtension>) => BusExtension
}

function made(options: Partial<BusOptions> = {}): Made {
  const log: string[] = []
  const transport = new StubTransport()
  transport.open = async () => void log.push('open')
  transport.close = async () => void log.push('closed')
  const subscribe = transport.subscribe.bind(transport)
  transport.subscribe = (spec, sink) => {
    log.push(`subscribe ${spec.topic}`)
    return subscribe(spec, sink)
  }
  const clock = manualClock()
  const bus = createBus({ service: 'test', transport, clock, logger: silentLogger, ...options })
  const extension = (name: string, change: Partial<BusExtension> = {}): BusExtension => ({
    ...change,
    name,
    start(given) {
      log.push(`start ${name}`)
      return change.start?.(given)
    },
    drain() {
      log.push(`drain ${name}`)
      return change.drain?.()
    },
    close(close) {
      log.push(`close ${name}`)
      return change.close?.(close)
    },
  })
  return { bus, transport, clock, log, extension }
}

/** The error of a promise that is to reject; listens at once. */
function failureOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => undefined,
    (error: unknown) => error,
  )
}

const never = (): Promise<void> => new Promise(() => {})

describe('attach', () => {
  it('is called when the bus takes the extension, before anything is open', async () => {
    const first = made()
    const { bus, log, extension } = made({
      extensions: [first.extension('a', { attach: () => first.log.push('attach a') })],
    })
    let attached: unknown
    await bus.use(extension('b', { attach: (given) => (attached = given) }))
    expect(first.log).toEqual(['attach a'])
    expect(attached).toBe(bus)
    expect(log).toEqual([])
    const failing = extension('c', {
      attach: () => {
        throw new Error('taken already')
      },
    })
    await expect(bus.use(failing)).rejects.toThrow('taken already')
    await bus.start()
    expect(log).toEqual(['open', 'start b'])
    await bus.close()
  })
})

describe('start', () => {
  it('starts extensions one after the other between the transports and the consumers', async () => {
    const { bus, log, extension } = made()
    let started: () => void = () => {}
    bus.consume('orders', () => {})
    await bus.use(extension('a', { start: () => new Promise((resolve) => (started = resolve)) }))
    await bus.use(extension('b'))
    const starting = bus.start()
    await turn()
    expect(log).toEqual(['open', 'start a'])
    started()
    await starting
    expect(log).toEqual(['open', 'start a', 'start b', 'subscribe orders'])
    await bus.close()
  })

  it('starts those of createBus before those of use', async () => {
    const first = made()
    const { bus } = made({ extensions: [first.extension('a')] })
    await bus.use(first.extension('b'))
    await bus.start()
    expect(first.log).toEqual(['start a', 'start b'])
    await bus.close()
  })

  it('lets an extension publish, and add consumers and extensions, which start with the bus', async () => {
    const { bus, transport, log, extension } = made()
    await bus.use(
      extension('a', {
        async start(given) {
          await given.publish('started', 1)
          given.consume('added', () => {})
          await given.use(extension('added'))
          log.push('a has started')
        },
      }),
    )
    await bus.use(extension('b'))
    await bus.start()
    expect(transport.published.flat().map(({ topic }) => topic)).toEqual(['started'])
    expect(log).toEqual(['open', 'start a', 'a has started', 'start b', 'start added', 'subscribe added'])
    await bus.close()
  })

  it('calls methods as methods, on instances of a class too', async () => {
    class Counter implements BusExtension {
      readonly name = 'counter'
      readonly #seen: string[] = []
      start(bus: Bus): void {
        this.#seen.push(bus.service)
      }
      snapshot(): unknown {
        return this.#seen
      }
    }
    const { bus } = made({ extensions: [new Counter()] })
    await bus.start()
    expect(bus.snapshot().extensions).toEqual([{ name: 'counter', status: 'ok', data: ['test'] }])
    await bus.close()
  })

  it('fails with the name of the extension, closes what was started, and can be tried again', async () => {
    const { bus, log, extension } = made()
    const cause = new Error('no database')
    let fails = true
    bus.consume('orders', () => {})
    await bus.use(extension('a'))
    const b = extension('b', {
      start() {
        if (fails) throw cause
      },
    })
    await bus.use(b)
    await bus.use(extension('c'))
    const error = await failureOf(bus.start())
    expect(ExtensionError.is(error)).toBe(true)
    expect(error).toMatchObject({
      code: 'BUSBAR_EXTENSION',
      extension: 'b',
      cause,
      message: 'Extension "b" failed to start: no database',
    })
    expect(log.splice(0)).toEqual(['open', 'start a', 'start b', 'drain a', 'drain b', 'close b', 'close a'])
    expect(bus.state).toBe('idle')
    await expect(bus.publish('t', 1)).rejects.toMatchObject({ code: 'BUSBAR_STATE' })

    fails = false
    await bus.start()
    expect(log.splice(0)).toEqual(['start a', 'start b', 'start c', 'subscribe orders'])
    expect((await bus.health()).status).toBe('ok')
    await bus.close()
    expect(log).toEqual(['drain a', 'drain b', 'drain c', 'close c', 'close b', 'close a', 'closed'])
  })

  it('can be tried again by an extension that adds a consumer and removes it again', async () => {
    const { bus, extension } = made()
    let attempts = 0
    let close: (() => Promise<void>) | undefined
    await bus.use(
      extension('a', {
        start(given) {
          const consumer = given.consume('orders', () => {})
          close = () => consumer.close()
          if (++attempts === 1) throw new Error('not yet')
        },
        close: () => close?.(),
      }),
    )
    await expect(bus.start()).rejects.toThrow('not yet')
    expect((await bus.health()).consumers).toEqual([])
    await bus.start()
    expect((await bus.health()).consumers).toMatchObject([{ topic: 'orders', status: 'ok' }])
    await bus.close()
  })

  it('gives up an extension that never starts, and says which', async () => {
    const { bus, clock, log, extension } = made({ startTimeoutMs: 20_000 })
    await bus.use(extension('a', { start: never }))
    const failed = failureOf(bus.start())
    await clock.advance(19_000)
    expect(await bus.health()).toMatchObject({
      live: true,
      ready: false,
      extensions: { a: { status: 'starting' } },
    })
    await clock.advance(1_500)
    expect(await failed).toMatchObject({
      extension: 'a',
      retryable: true,
      message: 'Extension "a" failed to start: it has not started within 20000 ms',
      cause: { code: 'BUSBAR_TIMEOUT' },
    })
    expect(log).toEqual(['open', 'start a', 'drain a', 'close a'])
    expect(clock.pending).toBe(0)
    await bus.close()
  })

  it('gives an extension ten seconds even when the time is used up', async () => {
    const { bus, clock, extension } = made()
    await bus.use(extension('a', { start: never }))
    const failed = failureOf(bus.start({ timeoutMs: 0 }))
    await clock.advance(9_900)
    expect(bus.state).toBe('running')
    await clock.advance(200)
    expect(await failed).toMatchObject({ extension: 'a' })
    await bus.close()
  })

  it('is not held up forever by one that neither starts nor closes', async () => {
    const { bus, clock, log, extension } = made({ startTimeoutMs: 0, closeTimeoutMs: 3_000 })
    await bus.use(extension('a'))
    await bus.use(extension('b', { start: never, drain: never, close: never }))
    const failed = failureOf(bus.start())
    await clock.advance(10_000)
    await clock.advance(3_000)
    expect(log.at(-1)).toBe('close b')
    await clock.advance(1_000)
    expect(await failed).toMatchObject({ extension: 'b' })
    expect(log.at(-1)).toBe('close a')
    expect(clock.pending).toBe(0)
    await bus.close()
  })

  it('closes the extensions when a consumer can not be subscribed', async () => {
    const { bus, transport, log, extension } = made()
    transport.subscribe = () => Promise.reject(new Error('no permission'))
    bus.consume('orders', () => {})
    await bus.use(extension('a'))
    await expect(bus.start()).rejects.toThrow('no permission')
    expect(bus.state).toBe('closed')
    expect(log).toEqual(['open', 'start a', 'drain a', 'close a', 'closed'])
  })
})

describe('use', () => {
  it('of a running bus starts the extension and resolves when it has started', async () => {
    const { bus, log, extension } = made()
    await bus.use(extension('a'))
    await bus.start()
    let started: () => void = () => {}
    let isUsed = false
    const using = bus
      .use(extension('b', { start: () => new Promise((resolve) => (started = resolve)) }))
      .then(() => (isUsed = true))
    await turn()
    expect(isUsed).toBe(false)
    expect((await bus.health()).extensions).toEqual({ a: { status: 'ok' }, b: { status: 'starting' } })
    started()
    await using
    expect((await bus.health()).status).toBe('ok')
    await bus.close()
    expect(log).toEqual(['open', 'start a', 'start b', 'drain a', 'drain b', 'close b', 'close a', 'closed'])
  })

  it('of a running bus rejects when the start fails, and removes the extension', async () => {
    const { bus, log, extension } = made()
    await bus.start()
    const failing = extension('a', { start: () => Promise.reject(new Error('no port')) })
    await expect(bus.use(failing)).rejects.toMatchObject({ extension: 'a', code: 'BUSBAR_EXTENSION' })
    expect(log.splice(0)).toEqual(['open', 'start a', 'drain a', 'close a'])
    expect(await bus.health()).toMatchObject({ status: 'ok', extensions: {} })
    await bus.use(extension('a'))
    await bus.close()
    expect(log).toEqual(['start a', 'drain a', 'close a', 'closed'])
  })

  it('while the bus starts joins those that start with it', async () => {
    const { bus, log, extension } = made()
    let started: () => void = () => {}
    await bus.use(extension('a', { start: () => new Promise((resolve) => (started = resolve)) }))
    const starting = bus.start()
    await turn()
    await bus.use(extension('b'))
    expect(log).toEqual(['open', 'start a'])
    started()
    await starting
    expect(log).toEqual(['open', 'start a', 'start b'])
    await bus.close()
  })

  it('at any moment of the start is not forgotten', async () => {
    for (let moment = 0; moment < 40; moment++) {
      const { bus, log, extension } = made()
      await bus.use(extension('a'))
      const starting = bus.start()
      for (let tick = 0; tick < moment; tick++) await Promise.resolve()
      await bus.use(extension('b'))
      await starting
      expect(log.filter((entry) => entry.startsWith('start'))).toEqual(['start a', 'start b'])
      await bus.close()
    }
  })

  it('refuses a name that is taken', async () => {
    const { bus, extension } = made({ extensions: [{ name: 'a' }] })
    await expect(bus.use(extension('a'))).rejects.toMatchObject({
      code: 'BUSBAR_CONFIGURATION',
      problems: [{ path: 'name', message: '"a" is the name of another extension of this bus' }],
    })
    expect(() => made({ extensions: [extension('a'), extension('b'), extension('a')] })).toThrow(
      'extensions.2.name: "a" is the name of another extension of this bus',
    )
  })

  it.each([
    [undefined, 'must be an extension, such as { name, start, close }, got undefined'],
    [() => ({ name: 'a' }), 'got a function'],
    [{}, 'name: must be a string that is not empty, got undefined'],
    [{ name: 'a', close: 5 }, 'close: must be a function, got 5'],
  ])('refuses %j', async (extension, message) => {
    const { bus } = made()
    await expect(bus.use(extension as BusExtension)).rejects.toThrow(message)
    expect(() => made({ extensions: [extension as BusExtension] })).toThrow(message)
    await expect(bus.start()).resolves.toBeUndefined()
    await bus.close()
  })

  it('refuses a bus that is closing or closed', async () => {
    const { bus, log, extension } = made()
    let refused: unknown
    await bus.use(extension('a', { drain: async () => void (refused = await failureOf(bus.use(extension('b')))) }))
    await bus.start()
    await bus.close()
    expect(refused).toMatchObject({ code: 'BUSBAR_STATE' })
    await expect(bus.use(extension('c'))).rejects.toMatchObject({ code: 'BUSBAR_STATE' })
    expect(log).not.toContain('start b')
  })

  it('inherits nothing from a handler that calls it', async () => {
    const { bus, transport, extension } = made()
    bus.consume('orders', async () => {
      await bus.use(extension('a', { start: async (given) => void (await given.publish('hello', 1)) }))
    })
    await bus.start()
    transport.subscriptions[0]?.deliver(delivery('m', { topic: 'orders' }))
    await expect.poll(() => transport.published.flat().length).toBe(1)
    expect(transport.published.flat()[0]?.causationId).toBeUndefined()
    await bus.close()
  })
})

describe('close', () => {
  it('drains in the turn in which the consumers stop, waits for both, and then closes in reverse', async () => {
    const { bus, transport, log, extension } = made()
    let [finish, drained] = [(): void => {}, (): void => {}]
    bus.consume('orders', () => new Promise<void>((resolve) => (finish = resolve)))
    await bus.use(extension('a', { drain: () => new Promise((resolve) => (drained = resolve)) }))
    await bus.use(extension('b'))
    await bus.start()
    transport.subscriptions[0]?.deliver(delivery('m', { topic: 'orders' }))
    await turn()
    log.length = 0
    const closing = bus.close()
    expect(log).toEqual(['drain a', 'drain b'])
    expect(transport.subscriptions[0]?.paused).toBe(true)
    drained()
    await turn()
    expect(log).toEqual(['drain a', 'drain b'])
    finish()
    await closing
    expect(log).toEqual(['drain a', 'drain b', 'close b', 'close a', 'closed'])
    expect(transport.subscriptions[0]?.outcomes()).toEqual(['m ack'])
  })

  it('lets extensions and their handlers publish while they drain and close', async () => {
    const { bus, transport, extension } = made()
    await bus.use(
      extension('a', {
        start(given) {
          given.consume('orders', async (_, ctx) => {
            await drained.promise
            await ctx.publish('handled', 1)
          })
        },
        drain: async () => {
          await bus.publish('drained', 1)
          drained.resolve()
        },
        close: async () => void (await bus.publish('closed', 1)),
      }),
    )
    const drained = Promise.withResolvers<void>()
    await bus.start()
    transport.subscriptions[0]?.deliver(delivery('m', { topic: 'orders' }))
    await turn()
    await bus.close()
    expect(transport.published.flat().map(({ topic }) => topic)).toEqual(['drained', 'handled', 'closed'])
    expect(transport.subscriptions[0]?.outcomes()).toEqual(['m ack'])
  })

  it('flushes what an extension published and did not await', async () => {
    const { bus, transport, extension } = made()
    let published: Promise<unknown> | undefined
    await bus.use(extension('a', { close: () => void (published = bus.publish('last', 1)) }))
    await bus.start()
    await bus.close()
    await expect(published).resolves.toMatchObject({ id: expect.any(String) })
    expect(transport.published.flat()).toHaveLength(1)
  })

  it('gives close what is left of the time, and moves on when it is over', async () => {
    const { bus, clock, log, extension } = made()
    const given: number[] = []
    await bus.use(extension('a', { close: ({ deadlineMs }) => void given.push(deadlineMs) }))
    await bus.use(
      extension('b', {
        close({ deadlineMs }) {
          given.push(deadlineMs)
          return never()
        },
      }),
    )
    await bus.start()
    const failed = failureOf(bus.close({ timeoutMs: 5_000 }))
    await clock.advance(4_900)
    expect(log.at(-1)).toBe('close b')
    await clock.advance(200)
    expect(await failed).toMatchObject({
      extension: 'b',
      message: 'Extension "b" failed to close: it has not closed in time',
      cause: { code: 'BUSBAR_TIMEOUT' },
    })
    expect(given).toEqual([5_000, 1_000])
    expect(log.at(-1)).toBe('closed')
    expect(bus.state).toBe('closed')
    expect(clock.pending).toBe(0)
  })

  it('cuts a drain short when the time is up, and says so', async () => {
    const lines: string[] = []
    const logger: Logger = { ...silentLogger, warn: (_, text) => lines.push(text) }
    const { bus, clock, log, extension } = made({ logger })
    await bus.use(extension('a', { drain: never }))
    await bus.start()
    const closing = bus.close({ timeoutMs: 2_000 })
    await clock.advance(1_900)
    expect(log.at(-1)).toBe('drain a')
    await clock.advance(200)
    await closing
    expect(log.slice(-2)).toEqual(['close a', 'closed'])
    expect(lines).toEqual(['an extension had not drained when the time was up'])
  })

  it('by force gives the extensions a second together, however many of them hang', async () => {
    const { bus, clock, log, extension } = made()
    const given: number[] = []
    const hangs: Partial<BusExtension> = {
      drain: never,
      close({ deadlineMs }) {
        given.push(deadlineMs)
        return never()
      },
    }
    const closes: Partial<BusExtension> = { close: ({ deadlineMs }) => void given.push(deadlineMs) }
    for (const [name, change] of Object.entries({ a: hangs, b: closes, c: hangs, d: hangs }))
      await bus.use(extension(name, change))
    await bus.start()
    const failed = failureOf(bus.close({ timeoutMs: 0 }))
    await clock.advance(200)
    expect(log.at(-1)).toBe('close d')
    await clock.advance(60)
    expect(log.at(-1)).toBe('close c')
    // What one does not need is for those after it.
    for (const _ of [1, 2, 3]) await clock.advance(250)
    expect(given).toEqual([250, 250, 250, 500])
    expect(await failed).toMatchObject({ errors: [{ extension: 'd' }, { extension: 'c' }, { extension: 'a' }] })
    expect(log.at(-1)).toBe('closed')
    expect(clock.pending).toBe(0)
  })

  it('ends sooner when it is called again with less time', async () => {
    const { bus, clock, log, extension } = made()
    await bus.use(extension('a', { close: never }))
    await bus.start()
    const failed = failureOf(bus.close())
    await clock.advance(5_000)
    expect(log.at(-1)).toBe('close a')
    const second = failureOf(bus.close({ timeoutMs: 0 }))
    await turn()
    expect(await failed).toMatchObject({ extension: 'a' })
    expect(await second).toBe(await failed)
    expect(clock.pending).toBe(0)
  })

  it('collects the errors of drain and close, and closes everything anyway', async () => {
    const { bus, log, extension } = made()
    const [drainError, closeError] = [new Error('cannot drain'), new Error('cannot close')]
    const failing = {
      drain() {
        throw drainError
      },
      close: () => Promise.reject(closeError),
    }
    await bus.use(extension('a'))
    await bus.use(extension('b', failing))
    await bus.start()
    expect(await failureOf(bus.close())).toMatchObject({
      name: 'AggregateError',
      errors: [
        { message: 'Extension "b" failed to drain: cannot drain', cause: drainError },
        { message: 'Extension "b" failed to close: cannot close', cause: closeError },
      ],
    })
    expect(log.slice(-3)).toEqual(['close b', 'close a', 'closed'])
  })

  it('logs an error that comes when the bus no longer waits', async () => {
    const lines: unknown[] = []
    const logger: Logger = { ...silentLogger, error: (fields, text) => lines.push([text, fields]) }
    const { bus, clock, extension } = made({ logger })
    const late = Promise.withResolvers<void>()
    await bus.use(extension('a', { close: () => late.promise }))
    await bus.start()
    const failed = failureOf(bus.close({ timeoutMs: 0 }))
    await clock.advance(1_000)
    await failed
    late.reject(new Error('too late'))
    await turn()
    expect(lines).toEqual([
      [
        'an extension failed too late',
        expect.objectContaining({
          extension: 'a',
          method: 'close',
          err: expect.objectContaining({ message: 'too late' }),
        }),
      ],
    ])
  })

  it('of a bus that was never started calls nothing', async () => {
    const { bus, log, extension } = made()
    await bus.use(extension('a'))
    await bus.close()
    expect(log).toEqual(['closed'])
    expect((await bus.health()).extensions).toEqual({ a: { status: 'stopped' } })
  })

  it('while an extension starts closes that one and starts no other', async () => {
    const { bus, clock, log, extension } = made()
    await bus.use(extension('a'))
    await bus.use(extension('b', { start: never }))
    await bus.use(extension('c'))
    const failed = failureOf(bus.start())
    await turn()
    await bus.close()
    expect(await failed).toMatchObject({ code: 'BUSBAR_STATE', message: 'The bus was closed while it was starting' })
    expect(log).toEqual(['open', 'start a', 'start b', 'drain a', 'drain b', 'close b', 'close a', 'closed'])
    expect(clock.pending).toBe(0)
  })

  it('while a late extension starts ends its use with a StateError', async () => {
    const { bus, log, extension } = made()
    await bus.start()
    const failed = failureOf(bus.use(extension('a', { start: never })))
    await bus.close()
    expect(await failed).toMatchObject({
      code: 'BUSBAR_STATE',
      message: 'The bus was closed before extension "a" had started',
    })
    expect(log).toEqual(['open', 'start a', 'drain a', 'close a', 'closed'])
  })

  it('closes an extension that is still starting only after the handlers, too', async () => {
    const { bus, transport, log, extension } = made()
    let finish: () => void = () => {}
    bus.consume('orders', () => new Promise<void>((resolve) => (finish = resolve)))
    await bus.start()
    transport.subscriptions[0]?.deliver(delivery('m', { topic: 'orders' }))
    await turn()
    const failed = failureOf(bus.use(extension('a', { start: never })))
    const closing = bus.close()
    await turn()
    expect(log.slice(-2)).toEqual(['start a', 'drain a'])
    finish()
    await Promise.all([closing, failed])
    expect(log.slice(-2)).toEqual(['close a', 'closed'])
  })

  it('while a failed start is undone takes over, and calls nothing twice', async () => {
    const { bus, clock, log, extension } = made()
    await bus.use(extension('a'))
    await bus.use(
      extension('b', {
        start() {
          throw new Error('no')
        },
        close: never,
      }),
    )
    const failed = failureOf(bus.start())
    await clock.advance(2_000)
    expect(log.at(-1)).toBe('close b')
    const closed = failureOf(bus.close({ timeoutMs: 0 }))
    expect(await failed).toMatchObject({ code: 'BUSBAR_STATE' })
    await clock.advance(1_000)
    expect(await closed).toMatchObject({ extension: 'b' })
    expect(log).toEqual(['open', 'start a', 'start b', 'drain a', 'drain b', 'close b', 'close a', 'closed'])
    expect(clock.pending).toBe(0)
  })
})

describe('bus.close() inside of an extension', () => {
  it('that starts closes the bus, that extension included', async () => {
    const { bus, log, extension } = made()
    await bus.use(extension('a', { start: (given) => given.close() }))
    await expect(bus.start()).rejects.toMatchObject({ code: 'BUSBAR_STATE' })
    await bus.close()
    expect(log).toEqual(['open', 'start a', 'drain a', 'close a', 'closed'])
  })

  it.each(['drain', 'close'] as const)('in %s is refused instead of waiting for itself', async (method) => {
    const { bus, extension } = made()
    let refused: unknown
    await bus.use(extension('a', { [method]: async () => void (refused = await failureOf(bus.close())) }))
    await bus.start()
    await bus.close()
    expect(refused).toMatchObject({ code: 'BUSBAR_STATE', message: expect.stringContaining('would wait for itself') })
  })

  it('in work that outlives drain waits for the close', async () => {
    const { bus, clock, log, extension } = made()
    let closed: Promise<void> | undefined
    const work = async (): Promise<void> => {
      await turn()
      await turn()
      closed = bus.close()
    }
    await bus.use(extension('a', { drain: () => void work(), close: never }))
    await bus.start()
    const first = failureOf(bus.close({ timeoutMs: 1_000 }))
    await expect.poll(() => closed !== undefined).toBe(true)
    expect(log.at(-1)).toBe('close a')
    const second = failureOf(closed as Promise<void>)
    await clock.advance(1_100)
    expect(await second).toBe(await first)
    expect(await first).toMatchObject({ extension: 'a' })
  })

  it('is refused in a handler that waits for a drain as well', async () => {
    const { bus, transport, extension } = made()
    let refused: unknown
    await bus.use(extension('a'))
    bus.consume('orders', async () => void (refused = await failureOf(bus.close())))
    await bus.start()
    transport.subscriptions[0]?.deliver(delivery('m', { topic: 'orders' }))
    await expect.poll(() => bus.state).toBe('closed')
    expect(refused).toMatchObject({ code: 'BUSBAR_STATE' })
  })

  it('in its background work waits for the close', async () => {
    const { bus, extension } = made()
    let closed: Promise<void> | undefined
    await bus.use(extension('a', { start: (given) => void setImmediate(() => void (closed = given.close())) }))
    await bus.start()
    await expect.poll(() => bus.state).toBe('closed')
    await closed
  })

  it('inherits nothing when a handler closes the bus', async () => {
    const { bus, transport, extension } = made()
    await bus.use(extension('a', { drain: async () => void (await bus.publish('drained', 1)) }))
    bus.consume('orders', () => void bus.close().catch(() => {}))
    await bus.start()
    transport.subscriptions[0]?.deliver(delivery('m', { topic: 'orders' }))
    await expect.poll(() => bus.state).toBe('closed')
    expect(transport.published.flat()[0]?.causationId).toBeUndefined()
  })
})

describe('health', () => {
  it.each<[ExtensionHealth['status'], string]>([
    ['ok', 'ok true true'],
    ['degraded', 'down true true'],
    ['starting', 'down true false'],
    ['failed', 'down true false'],
    ['stalled', 'down false true'],
  ])('with an extension that is %s is %s', async (status, expected) => {
    const { bus } = made({ extensions: [{ name: 'a', health: () => ({ status, detail: 'why' }) }] })
    await bus.start()
    const health = await bus.health()
    expect(`${health.status} ${health.live} ${health.ready}`).toBe(expected)
    expect(health.extensions).toEqual({ a: { status, detail: 'why' } })
    expect(health.reasons).toEqual(status === 'ok' ? [] : [{ extension: 'a', status, detail: 'why' }])
    await bus.close()
  })

  it.each<[() => unknown, string]>([
    [() => undefined, "health() must return { status: 'ok' } or the like, got undefined"],
    [() => ({ status: 'fine' }), "health() must return { status: 'ok' } or the like, got an object"],
    [
      () => Promise.reject(new Error('ignored')),
      "health() must return { status: 'ok' } or the like, got a Promise: await it",
    ],
    [
      () => {
        throw new Error('broken')
      },
      'health() threw: broken',
    ],
  ])('reports an extension whose health() is wrong: %s', async (health, detail) => {
    const { bus } = made({ extensions: [{ name: 'a', health: health as () => ExtensionHealth }] })
    await bus.start()
    expect(await bus.health()).toMatchObject({
      live: true,
      ready: false,
      extensions: { a: { status: 'failed', detail } },
    })
    await bus.close()
  })

  it('asks an extension only from the end of its start to its close', async () => {
    const asked: string[] = []
    const { bus, extension } = made()
    await bus.use(
      extension('a', {
        health() {
          asked.push(bus.state)
          return { status: 'ok' }
        },
        drain: async () => void (await bus.health()),
      }),
    )
    expect((await bus.health()).extensions).toEqual({ a: { status: 'starting' } })
    const starting = bus.start()
    await bus.health()
    await starting
    await bus.health()
    await bus.close()
    expect((await bus.health()).extensions).toEqual({ a: { status: 'stopped' } })
    expect(asked).toEqual(['running', 'draining'])
  })
})

it('an ExtensionError is retryable when its cause is', async () => {
  const { bus, extension } = made()
  const away = new BusbarError('BUSBAR_CONNECTION', 'away', { retryable: true })
  await bus.use(extension('a', { start: () => Promise.reject(away) }))
  expect(await failureOf(bus.start())).toMatchObject({ retryable: true, cause: away })
  await bus.close()
})
