import { getEventListeners } from 'node:events'
import { describe, expect, it, vi } from 'vitest'
import { ConfigurationError } from '../../../src/core/errors.ts'
import type { HandlerContext, Middleware } from '../../../src/core/handler.ts'
import { throttle } from '../../../src/middleware/index.ts'
import type { ThrottleOptions } from '../../../src/middleware/index.ts'
import { TokenBucket } from '../../../src/middleware/token-bucket.ts'
import { manualClock } from '../../../src/testing/manual-clock.ts'
import type { ManualClock } from '../../../src/testing/manual-clock.ts'
import { seededRandom } from '../../../src/testing/random.ts'
import { deferred, errorOf, fakeContext, fakeMessage } from './fake-context.ts'

/** One consumer behind a throttle; notes which message started when. */
function bench(middleware: Middleware, clock: ManualClock) {
  const started: [id: string, at: number][] = []
  const handler = middleware((message) => {
    started.push([message.id, clock.monotonic()])
    return message.id
  })
  return {
    started,
    send: (id: string, ctx: HandlerContext = fakeContext({ clock }), key?: string) =>
      handler(fakeMessage({ id, key }), ctx),
  }
}

describe('throttle', () => {
  it('lets a burst through at once, synchronously and without a timer, then one per interval in order', async () => {
    const clock = manualClock()
    const { started, send } = bench(throttle({ limit: 1, intervalMs: 100, burst: 2 }), clock)
    expect([send('a'), send('b')]).toEqual(['a', 'b'])
    expect(clock.pending).toBe(0)
    const waiting = [send('c'), send('d')]
    expect(clock.pending).toBe(1)
    await clock.advance(200)
    expect(await Promise.all(waiting)).toEqual(['c', 'd'])
    expect(started).toEqual([
      ['a', 0],
      ['b', 0],
      ['c', 100],
      ['d', 200],
    ])
    expect(clock.pending).toBe(0)
  })

  it('fills up again in quiet times, and no further than the burst', async () => {
    const clock = manualClock()
    const { started, send } = bench(throttle({ perSecond: 10, burst: 2 }), clock)
    send('a')
    await clock.advance(60_000)
    const late = ['b', 'c', 'd'].map((id) => send(id))
    expect(started.map(([id]) => id)).toEqual(['a', 'b', 'c'])
    await clock.advance(100)
    await Promise.all(late)
    expect(started.at(-1)).toEqual(['d', 60_100])
  })

  it('lets no message overtake those that wait, not even at the instant at which a token is back', async () => {
    const clock = manualClock()
    const { started, send } = bench(throttle({ limit: 1, intervalMs: 100, burst: 1 }), clock)
    send('a')
    let c: unknown
    // Due at the same instant as the throttle's own timer, and set before it: it fires first.
    clock.setTimer(100, () => {
      c = send('c')
    })
    const b = send('b')
    await clock.advance(300)
    await Promise.all([b, c])
    expect(started).toEqual([
      ['a', 0],
      ['b', 100],
      ['c', 200],
    ])
  })

  it('stops waiting when the signal aborts, gives up its place, and leaves no timer behind', async () => {
    const clock = manualClock()
    const { started, send } = bench(throttle({ limit: 1, intervalMs: 100, burst: 1 }), clock)
    send('a')
    const ctx = fakeContext({ clock })
    const b = send('b', ctx)
    const c = send('c')
    const reason = new Error('lost')
    ctx.abort(reason)
    expect(await errorOf(() => b)).toBe(reason)
    await clock.advance(100)
    expect(await c).toBe('c')
    expect(started).toEqual([
      ['a', 0],
      ['c', 100],
    ])

    const last = fakeContext({ clock })
    const d = send('d', last)
    expect(clock.pending).toBe(1)
    last.abort(reason)
    expect(await errorOf(() => d)).toBe(reason)
    expect(clock.pending).toBe(0)
  })

  it('does not wait at all when the signal is aborted already', async () => {
    const clock = manualClock()
    const { send } = bench(throttle({ limit: 1, intervalMs: 100, burst: 1 }), clock)
    send('a')
    const ctx = fakeContext({ clock })
    ctx.abort(new Error('gone'))
    expect(await errorOf(() => send('b', ctx))).toEqual(new Error('gone'))
    expect(clock.pending).toBe(0)
  })

  it('passes on what a handler throws after a wait, synchronous or not', async () => {
    const clock = manualClock()
    const handler = throttle({ perSecond: 10, burst: 1 })((message) => {
      if (message.id === 'throws') throw new Error('thrown')
      return message.id === 'rejects' ? Promise.reject(new Error('rejected')) : undefined
    })
    const run = (id: string) => handler(fakeMessage({ id }), fakeContext({ clock }))
    run('ok')
    const errors = [errorOf(() => run('throws')), errorOf(() => run('rejects'))]
    await clock.advance(200)
    expect(await Promise.all(errors)).toEqual([new Error('thrown'), new Error('rejected')])
  })

  it('keeps its order when a handler that was just released hands in more', async () => {
    const clock = manualClock()
    const started: string[] = []
    let again: unknown
    const handler = throttle({ limit: 1, intervalMs: 100, burst: 1 })((message, ctx) => {
      started.push(`${message.id}@${clock.monotonic()}`)
      if (message.id === 'b') again = handler(fakeMessage({ id: 'c' }), ctx)
    })
    handler(fakeMessage({ id: 'a' }), fakeContext({ clock }))
    const b = handler(fakeMessage({ id: 'b' }), fakeContext({ clock }))
    await clock.advance(100)
    await b
    expect(clock.pending).toBe(1)
    await clock.advance(100)
    await again
    expect(started).toEqual(['a@0', 'b@100', 'c@200'])
    expect(clock.pending).toBe(0)
  })

  it('waits for whole milliseconds, so that a timer never fires before there is a token', async () => {
    const clock = manualClock()
    const { started, send } = bench(throttle({ perSecond: 3, burst: 1 }), clock)
    send('a')
    const setTimer = vi.spyOn(clock, 'setTimer')
    const waiting = [send('b'), send('c')]
    await clock.advance(1_000)
    await Promise.all(waiting)
    expect(started).toEqual([
      ['a', 0],
      ['b', 334],
      ['c', 668],
    ])
    expect(setTimer).toHaveBeenCalledTimes(2)
  })

  it('leaves no listener on the signal of a message that has had its turn', async () => {
    const clock = manualClock()
    const { send } = bench(throttle({ perSecond: 10, burst: 1 }), clock)
    send('a')
    const ctx = fakeContext({ clock })
    const b = send('b', ctx)
    expect(getEventListeners(ctx.signal, 'abort')).toHaveLength(1)
    await clock.advance(100)
    await b
    expect(getEventListeners(ctx.signal, 'abort')).toHaveLength(0)
  })

  it('gives each consumer a separate rate', () => {
    const clock = manualClock()
    const middleware = throttle({ limit: 1, intervalMs: 100, burst: 1 })
    const one = bench(middleware, clock)
    const two = bench(middleware, clock)
    one.send('a')
    two.send('b')
    expect([one.started.length, two.started.length]).toEqual([1, 1])
  })

  it('gives each key a separate rate', async () => {
    const clock = manualClock()
    const { started, send } = bench(throttle({ limit: 1, intervalMs: 100, burst: 1, key: (m) => m.key ?? '' }), clock)
    const ctx = fakeContext({ clock })
    send('a1', ctx, 'a')
    const a2 = send('a2', ctx, 'a')
    send('b1', ctx, 'b')
    expect(started.map(([id]) => id)).toEqual(['a1', 'b1'])
    await clock.advance(100)
    await a2
    expect(started.at(-1)).toEqual(['a2', 100])
  })

  it('forgets the key that was quiet for longest, and never one that messages wait for', async () => {
    const clock = manualClock()
    const options = {
      limit: 1,
      intervalMs: 1_000,
      burst: 1,
      key: (m: { key: string | undefined }) => m.key ?? '',
      maxKeys: 2,
    }
    const { started, send } = bench(throttle(options), clock)
    const ctx = fakeContext({ clock })
    send('a1', ctx, 'a')
    const a2 = send('a2', ctx, 'a')
    send('b1', ctx, 'b')
    // Full: b goes, because a is waited for.
    send('c1', ctx, 'c')
    send('b2', ctx, 'b')
    expect(started.map(([id]) => id)).toEqual(['a1', 'b1', 'c1', 'b2'])
    // Had a been forgotten, a3 would start at once.
    const a3 = send('a3', ctx, 'a')
    await clock.advance(2_000)
    await Promise.all([a2, a3])
    expect(started.slice(-2)).toEqual([
      ['a2', 1_000],
      ['a3', 2_000],
    ])
  })

  it('counts the use of a key, not its first appearance', async () => {
    const clock = manualClock()
    const { started, send } = bench(
      throttle({ limit: 1, intervalMs: 1_000, burst: 2, key: (m) => m.key ?? '', maxKeys: 2 }),
      clock,
    )
    const ctx = fakeContext({ clock })
    for (const [id, key] of [
      ['a1', 'a'],
      ['b1', 'b'],
      ['a2', 'a'],
      ['c1', 'c'],
    ] as const)
      send(id, ctx, key)
    // b was forgotten for c, so a still knows that it has nothing left.
    const a3 = send('a3', ctx, 'a')
    expect(started).toHaveLength(4)
    await clock.advance(1_000)
    await a3
  })

  it('keeps every key while messages wait for all of them', async () => {
    const clock = manualClock()
    const options = {
      limit: 1,
      intervalMs: 1_000,
      burst: 1,
      key: (m: { key: string | undefined }) => m.key ?? '',
      maxKeys: 1,
    }
    const { started, send } = bench(throttle(options), clock)
    const ctx = fakeContext({ clock })
    const waiting = ['a', 'b', 'c'].flatMap((key) => [send(`${key}1`, ctx, key), send(`${key}2`, ctx, key)])
    await clock.advance(1_000)
    await Promise.all(waiting)
    expect(started.map(([, at]) => at)).toEqual([0, 0, 0, 1_000, 1_000, 1_000])
  })

  it('fails the attempt when the key function throws', async () => {
    const handler = throttle({
      perSecond: 1,
      key: () => {
        throw new Error('no key')
      },
    })(() => undefined)
    expect(await errorOf(() => handler(fakeMessage(), fakeContext()))).toEqual(new Error('no key'))
  })

  it('comes near its rate by default, although timers fire late', async () => {
    const clock = manualClock()
    // Timers of the real clock fire a little late; this one does so by up to 2 ms.
    const random = seededRandom('late timers')
    const late = { ...clock, setTimer: (ms: number, fire: () => void) => clock.setTimer(ms + random.next() * 2, fire) }
    const { started, send } = bench(throttle({ perSecond: 200 }), clock)
    const gate = deferred()
    let sent = 0
    const worker = async (): Promise<void> => {
      while (clock.monotonic() < 5_000) await send(String(sent++), fakeContext({ clock: late }))
    }
    const workers = Promise.all(Array.from({ length: 10 }, worker)).then(() => gate.resolve())
    await clock.advance(5_200)
    await Promise.all([workers, gate.promise])
    const rate = started.filter(([, at]) => at < 5_000).length / 5
    expect(rate).toBeGreaterThan(195)
    expect(rate).toBeLessThanOrEqual(201)
  })

  it.each([
    [{}, ['needs a rate']],
    [undefined, ['needs a rate']],
    [{ perSecond: 1, limit: 1, intervalMs: 1 }, ['needs a rate']],
    [{ limit: 1 }, ['intervalMs: is required']],
    [{ intervalMs: 1 }, ['limit: is required']],
    [{ perSecond: 0 }, ['perSecond: must be']],
    [{ perSecond: Number.NaN }, ['perSecond: must be']],
    [{ perSecond: 1, burst: 0 }, ['burst: must be']],
    [{ perSecond: 1, maxKeys: 5 }, ['maxKeys: has no meaning']],
    [
      { perSecond: 1, key: 'x', maxKeys: 0, brust: 1 },
      ['key: must be a function', 'maxKeys: must be', 'did you mean "burst"'],
    ],
  ])('refuses %j', (options, expected) => {
    let message = ''
    try {
      throttle(options as ThrottleOptions)
    } catch (error) {
      expect(error).toBeInstanceOf(ConfigurationError)
      message = (error as Error).message
    }
    for (const text of expected) expect(message).toContain(text)
  })
})

describe('TokenBucket', () => {
  it.each(Array.from({ length: 40 }, (_, seed) => seed))(
    'keeps its promise for random rates and arrivals (seed %i)',
    (seed) => {
      const random = seededRandom(`bucket ${seed}`)
      const rate = { intervalMs: random.pick([0.01, 1 / 3, 1, 7, 1000 / 3]), burst: random.pick([1, 1.5, 2, 5, 50]) }
      const bucket = new TokenBucket(rate)
      const taken: number[] = []
      let now = random.next() * 1e9
      for (let step = 0; step < 1_000; step++) {
        now += random.chance(0.5) ? 0 : random.next() * rate.intervalMs * random.pick([0.1, 1, 10])
        const waitMs = bucket.take(now)
        if (waitMs === 0) taken.push(now)
        else {
          expect(waitMs).toBeGreaterThan(0)
          // There is a token when it says so, and not clearly before.
          expect(waitMs).toBeLessThanOrEqual(rate.intervalMs + 1e-6)
          if (random.chance(0.3)) {
            now += Math.ceil(waitMs)
            expect(bucket.take(now)).toBe(0)
            taken.push(now)
          }
        }
      }
      expect(taken.length).toBeGreaterThan(10)
      let worst = 0
      for (const [from, first] of taken.entries()) {
        for (let to = from; to < taken.length; to += 5) {
          const allowed = rate.burst + ((taken[to] as number) - first) / rate.intervalMs
          worst = Math.max(worst, to - from + 1 - allowed)
        }
      }
      expect(worst).toBeLessThanOrEqual(1e-4)
    },
  )

  it('gives every token that its rate promises when a message always waits', () => {
    const bucket = new TokenBucket({ intervalMs: 10, burst: 1 })
    let now = 0
    for (let taken = 0; taken < 1_000; taken++) {
      const waitMs = bucket.take(now)
      if (waitMs > 0) {
        now += waitMs
        expect(bucket.take(now)).toBe(0)
      }
    }
    expect(now).toBeCloseTo(9_990, 5)
  })
})
