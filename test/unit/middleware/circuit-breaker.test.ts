import { getEventListeners } from 'node:events'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { CodecError, ConfigurationError, RejectError, TimeoutError, ValidationError } from '../../../src/core/errors.ts'
import type { Handler } from '../../../src/core/handler.ts'
import { RetryRequest } from '../../../src/core/consume/retry.ts'
import { circuitBreaker } from '../../../src/middleware/index.ts'
import type { CircuitBreaker, CircuitBreakerOptions, CircuitStateChange } from '../../../src/middleware/index.ts'
import { manualClock } from '../../../src/testing/manual-clock.ts'
import type { ManualClock } from '../../../src/testing/manual-clock.ts'
import { deferred, errorOf, fakeConsumer, fakeContext, fakeMessage, turn } from './fake-context.ts'
import type { Deferred, FakeContext } from './fake-context.ts'

const REASON = 'circuit-breaker:api'
const broken = new Error('broken')

/** A call whose end the test decides. */
interface Call {
  readonly ctx: FakeContext
  /** What became of the attempt. */
  readonly outcome: Promise<unknown>
  readonly entered: boolean
  succeed(): Promise<void>
  fail(error?: unknown): Promise<void>
}

/** One consumer behind a breaker. */
function consumerOf(breaker: CircuitBreaker, clock: ManualClock, topic = 'orders.placed') {
  const consumer = fakeConsumer(topic)
  let gate: Deferred<void> | undefined
  const handler = breaker(() => {
    gate = deferred()
    return gate.promise
  })
  return {
    consumer,
    cap: () => consumer.caps.get(REASON),
    start(): Call {
      const ctx = fakeContext({ clock, consumer })
      gate = undefined
      const outcome = (async () => {
        await handler(fakeMessage(), ctx)
        return 'ok'
      })().catch((error: unknown) => error)
      const mine = gate as Deferred<void> | undefined
      return {
        ctx,
        outcome,
        entered: mine !== undefined,
        async succeed() {
          mine?.resolve()
          await outcome
        },
        async fail(error = broken) {
          mine?.reject(error)
          await outcome
        },
      }
    },
  }
}

function setUp(options: CircuitBreakerOptions = {}) {
  const clock = manualClock()
  const changes: string[] = []
  const breaker = circuitBreaker({
    name: 'api',
    failureThreshold: 3,
    windowMs: 1_000,
    resetTimeoutMs: 5_000,
    onStateChange: ({ name, from, to }) => changes.push(`${name}: ${from} -> ${to}`),
    ...options,
  })
  return { clock, breaker, changes, one: consumerOf(breaker, clock) }
}

async function open(consumer: ReturnType<typeof consumerOf>, failures = 3): Promise<void> {
  for (let count = 0; count < failures; count++) await consumer.start().fail()
}

afterEach(() => vi.restoreAllMocks())

describe('circuitBreaker', () => {
  it('goes from closed to open to half-open to closed, and steers intake all along', async () => {
    const { clock, breaker, changes, one } = setUp()
    expect([breaker.name, breaker.state]).toEqual(['api', 'closed'])
    await open(one)
    expect(breaker.state).toBe('open')
    expect(one.cap()).toBe(0)
    await clock.advance(4_999)
    expect(one.cap()).toBe(0)
    await clock.advance(1)
    expect(breaker.state).toBe('half-open')
    expect(one.cap()).toBe(1)
    const probe = one.start()
    expect(probe.entered).toBe(true)
    expect(one.cap()).toBe(0)
    await probe.succeed()
    expect(breaker.state).toBe('closed')
    expect(one.cap()).toBeUndefined()
    expect(one.consumer.calls.map(([, cap]) => cap)).toEqual([0, 1, 0, undefined])
    expect(changes).toEqual(['api: closed -> open', 'api: open -> half-open', 'api: half-open -> closed'])
    expect(clock.pending).toBe(0)
  })

  it('opens again when the probe fails, for the whole time', async () => {
    const { clock, breaker, one } = setUp()
    await open(one)
    await clock.advance(5_000)
    await one.start().fail()
    expect(breaker.state).toBe('open')
    await clock.advance(4_999)
    expect(breaker.state).toBe('open')
    await clock.advance(1)
    expect(breaker.state).toBe('half-open')
  })

  it('passes results and errors through as they are, and stays synchronous with a synchronous handler', async () => {
    const { clock, breaker } = setUp()
    const ctx = fakeContext({ clock })
    expect(breaker(() => 'result')(fakeMessage(), ctx)).toBe('result')
    expect(await breaker(async () => 'later')(fakeMessage(), ctx)).toBe('later')
    expect(
      await errorOf(() =>
        breaker(() => {
          throw broken
        })(fakeMessage(), ctx),
      ),
    ).toBe(broken)
    expect(await errorOf(() => breaker(() => Promise.reject(broken))(fakeMessage(), ctx))).toBe(broken)
  })

  it('counts failures that a synchronous handler throws', async () => {
    const { clock, breaker } = setUp()
    const handler = breaker(() => {
      throw broken
    })
    for (let count = 0; count < 3; count++) await errorOf(() => handler(fakeMessage(), fakeContext({ clock })))
    expect(breaker.state).toBe('open')
  })

  it('is not calmed by successes in between, and forgets failures older than the window', async () => {
    const { clock, breaker, one } = setUp()
    await one.start().fail()
    await one.start().succeed()
    await clock.advance(600)
    await one.start().fail()
    await clock.advance(400)
    // The first is 1,000 ms old: outside.
    await one.start().fail()
    expect(breaker.state).toBe('closed')
    await one.start().succeed()
    await clock.advance(601)
    await one.start().fail()
    expect(breaker.state).toBe('closed')
    await one.start().fail()
    expect(breaker.state).toBe('open')
  })

  it('opens at a share of failures, once there are enough results', async () => {
    const { clock, breaker, one } = setUp({ failureThreshold: undefined, failureRate: 0.5, minimum: 4 })
    await one.start().fail()
    await one.start().fail()
    await one.start().fail()
    expect(breaker.state).toBe('closed')
    await clock.advance(1_100)
    // 2 of 5 and 3 of 6: what is older than the window is gone.
    await one.start().succeed()
    await one.start().succeed()
    await one.start().succeed()
    await one.start().fail()
    await one.start().fail()
    expect(breaker.state).toBe('closed')
    await one.start().fail()
    expect(breaker.state).toBe('open')
  })

  it('drops old slices of its window one by one', async () => {
    const { clock, breaker, one } = setUp({ failureThreshold: undefined, failureRate: 1, minimum: 2 })
    await one.start().succeed()
    await clock.advance(950)
    await one.start().fail()
    await one.start().fail()
    expect(breaker.state).toBe('closed')
    await clock.advance(100)
    await one.start().fail()
    expect(breaker.state).toBe('open')
  })

  it('starts afresh after it has closed', async () => {
    for (const options of [{}, { failureThreshold: undefined, failureRate: 0.5, minimum: 3 }]) {
      const { clock, breaker, one } = setUp({ ...options, windowMs: 60_000 })
      await open(one)
      await clock.advance(5_000)
      await one.start().succeed()
      await one.start().fail()
      await one.start().fail()
      expect(breaker.state).toBe('closed')
      await one.start().fail()
      expect(breaker.state).toBe('open')
    }
  })

  describe('while open', () => {
    it('hands back what was on its way, until the circuit is half-open and at no cost', async () => {
      const { clock, one } = setUp()
      await open(one)
      await clock.advance(2_000)
      const late = one.start()
      expect(late.entered).toBe(false)
      const request = await late.outcome
      expect(RetryRequest.is(request)).toBe(true)
      expect(request).toMatchObject({ delayMs: 3_000, countAttempt: false })
    })

    it('still puts off when its timer is late', async () => {
      const { breaker, clock } = setUp()
      const late = { ...clock, setTimer: () => ({ cancel() {} }) }
      const handler = breaker(() => Promise.reject(broken))
      for (let count = 0; count < 3; count++) await errorOf(() => handler(fakeMessage(), fakeContext({ clock: late })))
      await clock.advance(5_000.5)
      const request = await errorOf(() => handler(fakeMessage(), fakeContext({ clock: late })))
      expect(request).toMatchObject({ delayMs: 1, countAttempt: false })
    })

    it('lets running handlers finish, whose end then means nothing', async () => {
      const { clock, breaker, one } = setUp()
      const running = [one.start(), one.start(), one.start(), one.start()] as const
      await open(one)
      await running[0].succeed()
      expect(breaker.state).toBe('open')
      await clock.advance(4_000)
      await running[1].fail()
      await clock.advance(1_000)
      // Half-open at 5,000: the failure at 4,000 did not start the time anew.
      expect(breaker.state).toBe('half-open')
      await running[2].succeed()
      expect(breaker.state).toBe('half-open')
      const probe = one.start()
      await running[3].fail()
      expect(breaker.state).toBe('half-open')
      await probe.succeed()
      expect(breaker.state).toBe('closed')
    })

    it('does not let slow failures of before count once it has closed', async () => {
      const { clock, breaker, one } = setUp()
      const slow = [one.start(), one.start(), one.start()]
      await open(one)
      await clock.advance(5_000)
      await one.start().succeed()
      for (const call of slow) await call.fail()
      expect(breaker.state).toBe('closed')
    })
  })

  describe('while half-open', () => {
    it('has a single permit, however many arrive', async () => {
      const { clock, breaker, one } = setUp()
      await open(one)
      await clock.advance(5_000)
      const calls = [one.start(), one.start(), one.start()]
      expect(calls.map((call) => call.entered)).toEqual([true, false, false])
      expect(await calls[1]?.outcome).toMatchObject({ delayMs: 1_000, countAttempt: false })
      await calls[0]?.succeed()
      expect(breaker.state).toBe('closed')
    })

    it('waits no longer than the reset timeout before it looks again', async () => {
      const { clock, one } = setUp({ resetTimeoutMs: 40 })
      await open(one)
      await clock.advance(40)
      one.start()
      expect(await one.start().outcome).toMatchObject({ delayMs: 40 })
    })

    it('has as many permits as asked for; the first meaningful result decides', async () => {
      const { clock, breaker, one } = setUp({ halfOpenPermits: 2 })
      await open(one)
      await clock.advance(5_000)
      expect(one.cap()).toBe(2)
      const first = one.start()
      expect(one.cap()).toBe(2)
      const second = one.start()
      expect(one.cap()).toBe(0)
      expect(one.start().entered).toBe(false)
      await first.fail()
      expect(breaker.state).toBe('open')
      await second.succeed()
      expect(breaker.state).toBe('open')
    })

    it('gives the permit to the next one when a result says nothing', async () => {
      const { clock, breaker, one } = setUp()
      await open(one)
      await clock.advance(5_000)
      await one.start().fail(new RejectError('not for us'))
      expect(breaker.state).toBe('half-open')
      expect(one.cap()).toBe(1)
      await one.start().succeed()
      expect(breaker.state).toBe('closed')
    })

    it('puts its cap above what still runs of before, so that a hung handler does not keep the probe out', async () => {
      const { clock, one } = setUp()
      const hung = one.start()
      const slow = one.start()
      await open(one)
      await clock.advance(5_000)
      expect(one.cap()).toBe(3)
      await slow.succeed()
      expect(one.cap()).toBe(2)
      hung.ctx.abort(new Error('lost'))
      expect(one.cap()).toBe(1)
      // It was counted out when it was aborted, and is not again.
      await hung.fail()
      expect(one.cap()).toBe(1)
    })

    it('takes a deadline of the probe for its failure, even when the handler hangs', async () => {
      const { clock, breaker, one } = setUp()
      await open(one)
      await clock.advance(5_000)
      const probe = one.start()
      probe.ctx.abort(new TimeoutError('too slow'))
      expect(breaker.state).toBe('open')
      await probe.succeed()
      expect(breaker.state).toBe('open')
      await clock.advance(5_000)
      // It was counted out once.
      expect(one.cap()).toBe(1)
    })

    it('takes the permit back from a probe that was lost', async () => {
      const { clock, breaker, one } = setUp()
      await open(one)
      await clock.advance(5_000)
      const probe = one.start()
      probe.ctx.abort(new Error('lost'))
      expect(breaker.state).toBe('half-open')
      const next = one.start()
      expect(next.entered).toBe(true)
      await probe.fail()
      expect(breaker.state).toBe('half-open')
      await next.succeed()
      expect(breaker.state).toBe('closed')
    })

    it('takes an error for a failure when isFailure throws, and passes on the error of the handler', async () => {
      const warn = vi.spyOn(process, 'emitWarning').mockImplementation(() => {})
      const { clock, breaker, one } = setUp({
        isFailure: () => {
          throw new Error('no opinion')
        },
      })
      await open(one)
      expect(breaker.state).toBe('open')
      await clock.advance(5_000)
      const probe = one.start()
      await probe.fail()
      expect(await probe.outcome).toBe(broken)
      expect(breaker.state).toBe('open')
      await clock.advance(5_000)
      // A listener of a signal that throws would end the process.
      one.start().ctx.abort(new TimeoutError('too slow'))
      expect(breaker.state).toBe('open')
      expect(warn).toHaveBeenCalledTimes(5)
    })
  })

  describe('with several consumers', () => {
    it('opens and closes them together, with one permit among them', async () => {
      const { clock, breaker, one } = setUp()
      const two = consumerOf(breaker, clock, 'orders.paid')
      await two.start().succeed()
      await one.start().fail()
      await two.start().fail()
      await one.start().fail()
      expect([one.cap(), two.cap()]).toEqual([0, 0])
      await clock.advance(5_000)
      expect([one.cap(), two.cap()]).toEqual([1, 1])
      const probe = two.start()
      expect([one.cap(), two.cap()]).toEqual([0, 0])
      expect(one.start().entered).toBe(false)
      await probe.succeed()
      expect([one.cap(), two.cap()]).toEqual([undefined, undefined])
    })

    it('pauses a consumer that meets the open circuit with its first message', async () => {
      const { clock, breaker, one } = setUp()
      await open(one)
      const two = consumerOf(breaker, clock)
      expect(two.cap()).toBeUndefined()
      expect(two.start().entered).toBe(false)
      expect(two.cap()).toBe(0)
      await clock.advance(5_000)
      expect(two.cap()).toBe(1)
    })

    it('stays right when lifting a cap starts the probe at once', async () => {
      const { clock, breaker, one } = setUp()
      const two = consumerOf(breaker, clock)
      await two.start().succeed()
      await open(one)
      const calls: Call[] = []
      for (const consumer of [one, two]) {
        consumer.consumer.onLimit = () => {
          const cap = consumer.cap()
          if (breaker.state === 'half-open' && cap === 1) calls.push(consumer.start())
        }
      }
      await clock.advance(5_000)
      expect(calls.map((call) => call.entered)).toEqual([true])
      expect([one.cap(), two.cap()]).toEqual([0, 0])
      await calls[0]?.succeed()
      expect([one.cap(), two.cap()]).toEqual([undefined, undefined])
    })

    it('reports changes in their order when a probe ends while its cap is being lifted', async () => {
      const { clock, breaker, changes } = setUp()
      const consumer = fakeConsumer()
      let failing = true
      const handler: Handler = breaker(() => {
        if (failing) throw broken
      })
      const run = () => errorOf(() => handler(fakeMessage(), fakeContext({ clock, consumer })))
      for (let count = 0; count < 3; count++) await run()
      failing = false
      consumer.onLimit = () => {
        if (breaker.state === 'half-open' && consumer.caps.get(REASON) === 1)
          handler(fakeMessage(), fakeContext({ clock, consumer }))
      }
      await clock.advance(5_000)
      expect(changes).toEqual(['api: closed -> open', 'api: open -> half-open', 'api: half-open -> closed'])
      expect(consumer.caps.has(REASON)).toBe(false)
    })
  })

  it.each([
    ['RejectError', new RejectError('no')],
    ['CodecError', new CodecError('no')],
    ['ValidationError', new ValidationError('no')],
    ['not now', new RetryRequest({ countAttempt: false })],
  ])('does not count %s as a failure by default', async (_, error) => {
    const { breaker, one } = setUp()
    await one.start().fail(broken)
    await one.start().fail(broken)
    await one.start().fail(error)
    expect(breaker.state).toBe('closed')
    await one.start().fail(new RetryRequest({}))
    expect(breaker.state).toBe('open')
  })

  it('asks isFailure about every error, and about a deadline', async () => {
    const seen: unknown[] = []
    const reject = new RejectError('no')
    const { breaker, one } = setUp({
      isFailure: (error) => {
        seen.push(error)
        return error === reject
      },
    })
    const timedOut = new TimeoutError('too slow')
    const hung = one.start()
    hung.ctx.abort(timedOut)
    await hung.fail(new Error('aborted'))
    for (const error of [broken, broken, broken, reject, reject]) await one.start().fail(error)
    expect(seen).toEqual([timedOut, broken, broken, broken, reject, reject])
    expect(breaker.state).toBe('closed')
  })

  it('counts a deadline once, although the handler fails of it, too', async () => {
    const { breaker, one } = setUp()
    for (let count = 0; count < 2; count++) {
      const call = one.start()
      call.ctx.abort(new TimeoutError('too slow'))
      await call.fail(new Error('aborted'))
    }
    expect(breaker.state).toBe('closed')
    one.start().ctx.abort(new TimeoutError('too slow'))
    expect(breaker.state).toBe('open')
  })

  it('leaves no listener on the signal of a message that has ended', async () => {
    const { one } = setUp()
    for (const end of ['succeed', 'fail'] as const) {
      const call = one.start()
      expect(getEventListeners(call.ctx.signal, 'abort')).toHaveLength(1)
      await call[end]()
      expect(getEventListeners(call.ctx.signal, 'abort')).toHaveLength(0)
    }
  })

  it('counts an attempt that was over before its handler had begun to wait', async () => {
    const { clock, breaker } = setUp({ failureThreshold: 1 })
    const ctx = fakeContext({ clock })
    const handler = breaker(() => {
      ctx.abort(new TimeoutError('too slow'))
      return new Promise(() => {})
    })
    void handler(fakeMessage(), ctx)
    expect(breaker.state).toBe('open')
  })

  it('survives a listener that throws or rejects', async () => {
    const warn = vi.spyOn(process, 'emitWarning').mockImplementation(() => {})
    const listener = vi.fn<(change: CircuitStateChange) => unknown>(() => {
      throw new Error('listener')
    })
    const { clock, breaker, one } = setUp({ onStateChange: listener })
    await open(one)
    listener.mockImplementation(() => Promise.reject(new Error('listener')))
    await clock.advance(5_000)
    await turn()
    expect(breaker.state).toBe('half-open')
    expect(warn).toHaveBeenCalledTimes(2)
  })

  it('makes up its own name if it has none, and differently each time', () => {
    const names = [circuitBreaker().name, circuitBreaker().name]
    expect(names[0]).toMatch(/^[0-9a-f]{8}$/)
    expect(names[0]).not.toBe(names[1])
  })

  it.each([
    [{ failureThreshold: 0 }, ['failureThreshold: must be']],
    [{ failureThreshold: 3, failureRate: 0.5 }, ['failureRate: and failureThreshold exclude each other']],
    [{ failureRate: 1.5 }, ['failureRate: must be']],
    [{ failureRate: 0 }, ['failureRate: must be']],
    [{ minimum: 5 }, ['minimum: has no meaning']],
    [{ windowMs: 0, resetTimeoutMs: -1, halfOpenPermits: 0 }, ['windowMs', 'resetTimeoutMs', 'halfOpenPermits']],
    [
      { name: '', isFailure: 1, onStateChange: {}, treshold: 1 },
      ['name', 'isFailure', 'onStateChange', 'treshold: is not a known option'],
    ],
    ['x', ['must be an object']],
  ])('refuses %j', (options, expected) => {
    let message = ''
    try {
      circuitBreaker(options as CircuitBreakerOptions)
    } catch (error) {
      expect(error).toBeInstanceOf(ConfigurationError)
      message = (error as Error).message
    }
    for (const text of expected) expect(message).toContain(text)
  })
})
