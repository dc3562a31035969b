import { afterEach, describe, expect, it, vi } from 'vitest'
import { ConfigurationError, RejectError } from '../../../src/core/errors.ts'
import type { Handler } from '../../../src/core/handler.ts'
import type { Message } from '../../../src/core/message.ts'
import { dedupe } from '../../../src/middleware/index.ts'
import type { DedupeClaim, DedupeOptions, DedupeStore, DedupeWarning } from '../../../src/middleware/index.ts'
import { memoryDedupeStore } from '../../../src/stores/memory/index.ts'
import { manualClock } from '../../../src/testing/manual-clock.ts'
import { seededRandom } from '../../../src/testing/random.ts'
import { deferred, errorOf, fakeConsumer, fakeContext, fakeMessage, turn } from './fake-context.ts'

const KEY = 'billing orders.placed orders.placed shop id-1'

function setUp(options: Partial<DedupeOptions> = {}) {
  const clock = manualClock()
  const store = memoryDedupeStore({ clock })
  const warnings: DedupeWarning[] = []
  const duplicates: string[] = []
  const middleware = dedupe({
    store,
    ttlMs: 60_000,
    leaseMs: 300,
    onWarning: (warning) => warnings.push(warning),
    onDuplicate: (message, key) => duplicates.push(`${message.id}: ${key}`),
    ...options,
  })
  return {
    clock,
    store,
    warnings,
    duplicates,
    middleware,
    consumer: (handler: Handler, topic?: string, group?: string) => {
      const wrapped = middleware(handler)
      const control = fakeConsumer(topic, group)
      return async (message: Message = fakeMessage(), ctx = fakeContext({ clock, consumer: control })) =>
        wrapped(message, ctx)
    },
  }
}

/** The memory store behind promises, whose methods a test can replace. */
function slowStore(inner: DedupeStore, replaced: Partial<DedupeStore> = {}): DedupeStore {
  return {
    claim: async (...args) => inner.claim(...args),
    renew: async (...args) => inner.renew(...args),
    complete: async (...args) => inner.complete(...args),
    release: async (...args) => inner.release(...args),
    ...replaced,
  }
}

afterEach(() => vi.restoreAllMocks())

describe('dedupe', () => {
  it('handles a message once and skips it from then on, until its time to live is over', async () => {
    const { clock, consumer, duplicates, store } = setUp()
    const handled = vi.fn(() => 'result')
    const handle = consumer(handled)
    expect(await handle()).toBe('result')
    expect(await handle()).toBeUndefined()
    expect(handled).toHaveBeenCalledTimes(1)
    expect(duplicates).toEqual([`id-1: ${KEY}`])
    expect(store.claim(KEY, 1)).toEqual({ status: 'done' })
    await clock.advance(60_000)
    await handle()
    expect(handled).toHaveBeenCalledTimes(2)
  })

  it('works without listeners', async () => {
    const { consumer } = setUp({ onDuplicate: undefined })
    const handled = vi.fn()
    const handle = consumer(handled)
    await handle()
    await handle()
    expect(handled).toHaveBeenCalledTimes(1)
  })

  it.each([
    ['another id', { id: 'id-2' }],
    ['another source', { source: 'other-shop' }],
    ['another topic', { topic: 'orders.paid' }],
  ])('handles a message with %s', async (_, other) => {
    const { consumer } = setUp()
    const handled = vi.fn()
    const handle = consumer(handled)
    await handle()
    await handle(fakeMessage(other))
    expect(handled).toHaveBeenCalledTimes(2)
  })

  it('does not take two messages for one because of spaces in their source or id', async () => {
    const { consumer } = setUp()
    const handled = vi.fn()
    const handle = consumer(handled)
    await handle(fakeMessage({ source: 'a b', id: 'c' }))
    await handle(fakeMessage({ source: 'a', id: 'b c' }))
    expect(handled).toHaveBeenCalledTimes(2)
  })

  it('keeps consumers apart: another group, another subscription', async () => {
    const { consumer } = setUp()
    const handled = vi.fn()
    await consumer(handled, 'orders.placed', 'billing')()
    await consumer(handled, 'orders.placed', 'shipping')()
    await consumer(handled, 'orders.>', 'billing')()
    expect(handled).toHaveBeenCalledTimes(3)
    await consumer(handled, 'orders.>', 'billing')()
    expect(handled).toHaveBeenCalledTimes(3)
  })

  it('goes by a key of the user, within the consumer', async () => {
    const { consumer, store } = setUp({ key: (message) => message.key ?? '' })
    const handled = vi.fn()
    const handle = consumer(handled)
    await handle(fakeMessage({ id: '1', key: 'order-7' }))
    await handle(fakeMessage({ id: '2', key: 'order-7' }))
    expect(handled).toHaveBeenCalledTimes(1)
    expect(store.claim('billing orders.placed order-7', 1)).toEqual({ status: 'done' })
  })

  it.each([
    [
      'throws',
      () => {
        throw new Error('broken')
      },
    ],
    ['rejects', () => Promise.reject(new Error('broken'))],
    ['is rejected', () => Promise.reject(new RejectError('broken'))],
  ])('frees the message when its handler %s, and passes the error on', async (_, failing) => {
    const { consumer, store, warnings } = setUp()
    const handler = vi.fn<Handler>(failing)
    const handle = consumer(handler)
    expect(await errorOf(handle)).toMatchObject({ message: 'broken' })
    expect(store.size).toBe(0)
    handler.mockImplementation(() => 'now')
    expect(await handle()).toBe('now')
    expect(warnings).toEqual([])
  })

  it('puts off what is in progress elsewhere, at no cost, and handles it no second time', async () => {
    const { consumer } = setUp({ leaseMs: 2_000 })
    const gate = deferred()
    const handled = vi.fn(() => gate.promise)
    const handle = consumer(handled)
    const first = handle()
    expect(await errorOf(handle)).toMatchObject({ delayMs: 2_000, countAttempt: false })
    gate.resolve()
    await first
    await handle()
    expect(handled).toHaveBeenCalledTimes(1)
  })

  it.each([
    [1, 50],
    [120.4, 121],
    [3_600_000, 5_000],
  ])('looks again in time when the store says %d ms', async (retryAfterMs, delayMs) => {
    const store = slowStore(memoryDedupeStore(), { claim: () => ({ status: 'in-progress', retryAfterMs }) })
    const handle = setUp({ store }).consumer(() => undefined)
    expect(await errorOf(handle)).toMatchObject({ delayMs, countAttempt: false })
  })

  it('renews the lease for as long as the handler runs, and not after', async () => {
    const { clock, consumer, store } = setUp()
    const renew = vi.spyOn(store, 'renew')
    const gate = deferred()
    const running = consumer(() => gate.promise)()
    for (let round = 0; round < 40; round++) {
      await clock.advance(100)
      expect(store.claim(KEY, 1)).toMatchObject({ status: 'in-progress' })
    }
    gate.resolve()
    await running
    const renewals = renew.mock.calls.length
    expect(renewals).toBeGreaterThanOrEqual(4_000 / 150 - 1)
    expect(renewals).toBeLessThanOrEqual(4_000 / 50)
    await clock.advance(10_000)
    expect(renew).toHaveBeenCalledTimes(renewals)
    expect(clock.pending).toBe(0)
    expect(store.claim(KEY, 1)).toEqual({ status: 'done' })
  })

  it('sets one timer for many messages, and none for each', async () => {
    const { clock, consumer } = setUp()
    const setTimer = vi.spyOn(clock, 'setTimer')
    const handle = consumer(() => undefined)
    for (let id = 0; id < 100; id++) await handle(fakeMessage({ id: String(id) }))
    expect(setTimer).toHaveBeenCalledTimes(1)
    await clock.advance(100)
    expect(clock.pending).toBe(0)
    await handle(fakeMessage({ id: 'later' }))
    expect(setTimer).toHaveBeenCalledTimes(2)
  })

  it('renews each of several leases before half of it is over, whenever it began', async () => {
    const { clock, store, consumer } = setUp()
    const gates = Array.from({ length: 20 }, () => deferred())
    const handle = consumer((message) => gates[Number(message.id)]?.promise)
    const running: Promise<unknown>[] = []
    const last = new Map<string, number>()
    let worst = 0
    const renew = vi.spyOn(store, 'renew').mockImplementation((key) => {
      worst = Math.max(worst, clock.monotonic() - (last.get(key) ?? 0))
      last.set(key, clock.monotonic())
      return true
    })
    for (const [id] of gates.entries()) {
      last.set(`billing orders.placed orders.placed shop ${id}`, clock.monotonic())
      running.push(handle(fakeMessage({ id: String(id) })))
      await clock.advance(17)
    }
    await clock.advance(3_000)
    expect(worst).toBeGreaterThan(0)
    expect(worst).toBeLessThanOrEqual(150)
    renew.mockRestore()
    for (const gate of gates) gate.resolve()
    await Promise.all(running)
  })

  it('lets the lease end when the attempt is over and its handler hangs, so that the next attempt gets its turn', async () => {
    const { clock, consumer, warnings } = setUp()
    const gate = deferred()
    const handled = vi.fn<Handler>(() => gate.promise)
    const handle = consumer(handled)
    const ctx = fakeContext({ clock })
    const hung = handle(fakeMessage(), ctx)
    await clock.advance(1_000)
    ctx.abort(new Error('deadline'))
    expect(await errorOf(handle)).toMatchObject({ countAttempt: false })
    await clock.advance(300)
    handled.mockImplementation(() => 'second')
    expect(await handle()).toBe('second')
    gate.resolve()
    await hung
    expect(warnings).toEqual([{ code: 'lease-lost', key: KEY, messageId: 'id-1' }])
    expect(clock.pending).toBeLessThanOrEqual(1)
  })

  it('remembers a handler that succeeds after its deadline but within its lease', async () => {
    const { consumer, clock, warnings } = setUp()
    const gate = deferred()
    const handled = vi.fn<Handler>(() => gate.promise)
    const handle = consumer(handled)
    const ctx = fakeContext({ clock })
    const late = handle(fakeMessage(), ctx)
    await turn()
    ctx.abort(new Error('deadline'))
    await clock.advance(200)
    gate.resolve()
    await late
    await handle()
    expect(handled).toHaveBeenCalledTimes(1)
    expect(warnings).toEqual([])
  })

  it('does not start the handler when the attempt was over before the store answered', async () => {
    const answer = deferred<DedupeClaim>()
    const release = vi.fn()
    const store = slowStore(memoryDedupeStore(), { claim: () => answer.promise, release })
    const handled = vi.fn()
    const ctx = fakeContext()
    const attempt = setUp({ store }).consumer(handled)(fakeMessage(), ctx)
    ctx.abort(new Error('deadline'))
    answer.resolve({ status: 'claimed', token: 't' })
    expect(await errorOf(() => attempt)).toEqual(new Error('deadline'))
    expect(handled).not.toHaveBeenCalled()
    expect(release).toHaveBeenCalledWith(KEY, 't')
  })

  describe('when the lease is lost', () => {
    it('keeps the result of the handler, leaves the new holder alone, and warns once', async () => {
      const clock = manualClock()
      const store = memoryDedupeStore({ clock })
      const renew = vi.fn(async () => false)
      const { consumer, warnings } = setUp({ store: slowStore(store, { renew }) })
      const gate = deferred()
      const ctx = fakeContext({ clock })
      const running = consumer(() => gate.promise.then(() => 'result'))(fakeMessage(), ctx)
      await turn()
      await clock.advance(300)
      expect(warnings).toEqual([{ code: 'lease-lost', key: KEY, messageId: 'id-1' }])
      const next = store.claim(KEY, 10_000)
      expect(next.status).toBe('claimed')
      gate.resolve()
      expect(await running).toBe('result')
      expect(warnings).toHaveLength(1)
      expect(renew).toHaveBeenCalledTimes(1)
      expect(store.claim(KEY, 1)).toMatchObject({ status: 'in-progress' })
    })

    it('keeps the error of the handler', async () => {
      const clock = manualClock()
      const store = memoryDedupeStore({ clock })
      const { consumer, warnings } = setUp({ store: slowStore(store, { renew: async () => false }) })
      const gate = deferred()
      const running = consumer(() => gate.promise)(fakeMessage(), fakeContext({ clock }))
      await turn()
      await clock.advance(300)
      store.claim(KEY, 10_000)
      gate.reject(new Error('broken'))
      expect(await errorOf(() => running)).toEqual(new Error('broken'))
      expect(store.claim(KEY, 1)).toMatchObject({ status: 'in-progress' })
      expect(warnings.map(({ code }) => code)).toEqual(['lease-lost'])
    })

    it('does not call a lease lost that was settled while its renewal was under way', async () => {
      const { clock } = setUp()
      const answer = deferred<boolean>()
      const store = slowStore(memoryDedupeStore({ clock }), { renew: () => answer.promise })
      const { consumer, warnings } = setUp({ store })
      const gate = deferred()
      const running = consumer(() => gate.promise)(fakeMessage(), fakeContext({ clock }))
      await turn()
      await clock.advance(100)
      gate.resolve()
      await running
      answer.resolve(false)
      await turn()
      expect(warnings).toEqual([])
    })

    it('asks for no second renewal while one is under way', async () => {
      const { clock } = setUp()
      const renew = vi.fn(() => new Promise<boolean>(() => {}))
      const { consumer } = setUp({ store: slowStore(memoryDedupeStore({ clock }), { renew }) })
      void consumer(() => new Promise(() => {}))(fakeMessage(), fakeContext({ clock }))
      await turn()
      await clock.advance(1_000)
      expect(renew).toHaveBeenCalledTimes(1)
    })
  })

  describe('when the store fails', () => {
    const down = new Error('store down')
    const failing = (): Promise<never> => Promise.reject(down)

    it.each([
      ['rejects', failing],
      [
        'throws',
        () => {
          throw down
        },
      ],
    ])('puts the message off at no cost when a claim %s', async (_, claim) => {
      const handled = vi.fn()
      const { consumer, warnings } = setUp({ store: slowStore(memoryDedupeStore(), { claim }) })
      expect(await errorOf(consumer(handled))).toMatchObject({ delayMs: 1_000, countAttempt: false, cause: down })
      expect(handled).not.toHaveBeenCalled()
      expect(warnings).toEqual([{ code: 'not-claimed', key: KEY, messageId: 'id-1', error: down }])
    })

    it('keeps the success of a handler that can not be noted', async () => {
      const { consumer, warnings } = setUp({ store: slowStore(memoryDedupeStore(), { complete: failing }) })
      expect(await consumer(() => 'result')()).toBe('result')
      expect(warnings).toEqual([{ code: 'not-remembered', key: KEY, messageId: 'id-1', error: down }])
    })

    it('keeps the error of a handler whose claim can not be freed', async () => {
      const { consumer, warnings } = setUp({ store: slowStore(memoryDedupeStore(), { release: failing }) })
      expect(await errorOf(consumer(() => Promise.reject(new Error('broken'))))).toEqual(new Error('broken'))
      expect(warnings).toEqual([{ code: 'not-released', key: KEY, messageId: 'id-1', error: down }])
    })

    it('keeps trying to renew', async () => {
      const clock = manualClock()
      const inner = memoryDedupeStore({ clock })
      const renew = vi.fn<DedupeStore['renew']>(async (...args) => inner.renew(...args)).mockImplementationOnce(failing)
      const { consumer, warnings } = setUp({ store: slowStore(inner, { renew }) })
      const gate = deferred()
      const running = consumer(() => gate.promise)(fakeMessage(), fakeContext({ clock }))
      await turn()
      await clock.advance(290)
      expect(renew).toHaveBeenCalledTimes(2)
      expect(warnings).toEqual([{ code: 'not-renewed', key: KEY, messageId: 'id-1', error: down }])
      gate.resolve()
      await running
      expect(warnings).toHaveLength(1)
    })

    it('says nothing of a renewal that failed after the handler had ended', async () => {
      const clock = manualClock()
      const answer = deferred<boolean>()
      const { consumer, warnings } = setUp({
        store: slowStore(memoryDedupeStore({ clock }), { renew: () => answer.promise }),
      })
      const gate = deferred()
      const running = consumer(() => gate.promise)(fakeMessage(), fakeContext({ clock }))
      await turn()
      await clock.advance(100)
      gate.resolve()
      await running
      answer.reject(down)
      await turn()
      expect(warnings).toEqual([])
    })

    it('warns the process when there is no listener, once for each kind', async () => {
      const warn = vi.spyOn(process, 'emitWarning').mockImplementation(() => {})
      const store = slowStore(memoryDedupeStore(), {
        complete: failing,
        release: async () => {
          throw 'odd'
        },
      })
      const { consumer } = setUp({ store, onWarning: undefined })
      await consumer(() => 'result')(fakeMessage({ id: '1' }))
      await consumer(() => 'result')(fakeMessage({ id: '2' }))
      await errorOf(() => consumer(() => Promise.reject(new Error('broken')))(fakeMessage({ id: '3' })))
      expect(warn.mock.calls.map(([text]) => String(text))).toEqual([
        expect.stringContaining('not-remembered'),
        expect.stringContaining('not-released'),
      ])
      expect(warn.mock.calls[0]?.[1]).toMatchObject({
        code: 'BUSBAR_DEDUPE',
        detail: expect.stringContaining('store down'),
      })
    })

    it('survives listeners that throw', async () => {
      const warn = vi.spyOn(process, 'emitWarning').mockImplementation(() => {})
      const loud = (): never => {
        throw new Error('listener')
      }
      const { consumer } = setUp({
        onDuplicate: loud,
        onWarning: loud,
        store: slowStore(memoryDedupeStore(), { complete: failing }),
      })
      expect(await consumer(() => 'result')()).toBe('result')
      expect(warn).toHaveBeenCalledTimes(1)
      const second = setUp({ onDuplicate: loud })
      const handle = second.consumer(() => undefined)
      await handle()
      await handle()
      expect(warn).toHaveBeenCalledTimes(2)
    })
  })

  it('fails the attempt when the key function throws', async () => {
    const { consumer } = setUp({
      key: () => {
        throw new Error('no key')
      },
    })
    expect(await errorOf(consumer(() => undefined))).toEqual(new Error('no key'))
  })

  it.each([
    [{}, ['store: is required']],
    [{ store: { claim() {} } }, ['store: must be an object with renew(), complete(), release()']],
    [
      { store: memoryDedupeStore(), ttlMs: 0, leaseMs: 5, key: 1, onDuplicate: 1, onWarning: 1, lease: 1 },
      ['ttlMs', 'leaseMs: must be', 'key', 'onDuplicate', 'onWarning', 'lease: is not a known option'],
    ],
  ])('refuses %o', (options, expected) => {
    let message = ''
    try {
      dedupe(options as unknown as DedupeOptions)
    } catch (error) {
      expect(error).toBeInstanceOf(ConfigurationError)
      message = (error as Error).message
    }
    for (const text of expected) expect(message).toContain(text)
  })

  it.each(Array.from({ length: 30 }, (_, seed) => seed))(
    'handles each message exactly once with well-behaved handlers, whatever is redelivered when (seed %i)',
    async (seed) => {
      const random = seededRandom(`dedupe ${seed}`)
      const clock = manualClock()
      const store = memoryDedupeStore({ clock })
      const successes = new Map<string, number>()
      const inside = new Set<string>()
      const instances = Array.from({ length: 3 }, () =>
        dedupe({ store: slowStore(store), leaseMs: 90, ttlMs: 1e9 })(async (message) => {
          expect(inside.has(message.id)).toBe(false)
          inside.add(message.id)
          await new Promise<void>((resolve) => clock.setTimer(random.integer(0, 400), resolve))
          inside.delete(message.id)
          if (random.chance(0.3)) throw new Error('broken')
          successes.set(message.id, (successes.get(message.id) ?? 0) + 1)
        }),
      )
      /** Delivers again and again until one delivery is acked, as a broker does; some twice over. */
      const deliver = async (id: string): Promise<void> => {
        for (;;) {
          try {
            await random.pick(instances)(fakeMessage({ id }), fakeContext({ clock }))
            return
          } catch (error) {
            const { delayMs = 5 } = error as { delayMs?: number }
            await new Promise<void>((resolve) => clock.setTimer(delayMs, resolve))
          }
        }
      }
      const ids = Array.from({ length: 8 }, (_, index) => String(index))
      const progress = { finished: false }
      const all = Promise.all([...ids, ...ids, ...ids.slice(0, 4)].map(deliver)).then(() => {
        progress.finished = true
      })
      for (let round = 0; round < 200 && !progress.finished; round++) await clock.advance(100)
      expect(progress.finished).toBe(true)
      await all
      expect(Object.fromEntries(successes)).toEqual(Object.fromEntries(ids.map((id) => [id, 1])))
    },
  )
})
