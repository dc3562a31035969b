import { describe, expect, it } from 'vitest'
import { systemClock } from '../../../src/core/clock.ts'
import { CodecRegistry } from '../../../src/core/codec.ts'
import type { ResolvedRetry } from '../../../src/core/consume/consume-options.ts'
import { CodecError, RejectError } from '../../../src/core/errors.ts'
import { IncomingMessage } from '../../../src/core/consume/incoming-message.ts'
import type { EncodedMessage } from '../../../src/core/message.ts'
import { backoffMs, RetryPolicy, RetryRequest } from '../../../src/core/consume/retry.ts'

const policy: ResolvedRetry = {
  attempts: 3,
  backoff: 'exponential',
  baseMs: 100,
  maxMs: 1_000,
  mode: 'auto',
  retryIf: undefined,
  budgetPerMinute: undefined,
}

function message(body = '{}'): IncomingMessage {
  return new IncomingMessage(
    { contentType: 'application/json', body: Buffer.from(body) } as unknown as EncodedMessage,
    new CodecRegistry(),
  )
}

describe('backoff', () => {
  it('grows and stops at its limit, also for absurd attempts', () => {
    expect([1, 2, 3, 4, 5, 6, 10_000].map((attempt) => backoffMs(policy, attempt))).toEqual([
      100, 200, 400, 800, 1_000, 1_000, 1_000,
    ])
    expect(backoffMs({ ...policy, backoff: 'fixed' }, 5)).toBe(100)
    expect(backoffMs({ ...policy, backoff: 'fixed', baseMs: 5_000 }, 1)).toBe(1_000)
  })

  it('jitters over the whole range', () => {
    const full = { ...policy, backoff: 'full-jitter' } as const
    expect(backoffMs(full, 3, () => 0)).toBe(0)
    expect(backoffMs(full, 3, () => 0.5)).toBe(200)
    expect(backoffMs(full, 3, () => 0.999_999)).toBe(400)
  })
})

describe('deciding about a failure', () => {
  const decide = (error: unknown, attempt: number, change: Partial<ResolvedRetry> = {}, of = message()): unknown =>
    new RetryPolicy({ ...policy, ...change }, systemClock).decide(error, of, attempt)

  it('retries until the attempts are used up', () => {
    expect(decide(new Error('x'), 1)).toEqual({ type: 'retry', delayMs: 100, countAttempt: true })
    expect(decide('a string', 2)).toEqual({ type: 'retry', delayMs: 200, countAttempt: true })
    expect(decide(undefined, 3)).toEqual({ type: 'dead-letter', reason: 'exhausted' })
  })

  it('dead-letters a reject at once', () => {
    expect(decide(new RejectError('no'), 1)).toEqual({ type: 'dead-letter', reason: 'rejected' })
  })

  it('dead-letters what can not be decoded, but not a codec error of something else', () => {
    const bad = message('{')
    let error: unknown
    try {
      void bad.data
    } catch (thrown) {
      error = thrown
    }
    expect(decide(error, 1, {}, bad)).toEqual({ type: 'dead-letter', reason: 'undecodable' })
    expect(decide(new CodecError('of a publish inside of the handler'), 1, {}, message())).toMatchObject({
      type: 'retry',
    })
  })

  it('asks retryIf, and retries when that throws', () => {
    expect(decide(new Error('x'), 1, { retryIf: () => false })).toEqual({ type: 'dead-letter', reason: 'rejected' })
    const throwing = () => {
      throw new Error('of the predicate')
    }
    expect(decide(new Error('x'), 1, { retryIf: throwing })).toMatchObject({ type: 'retry' })
  })

  it('does what ctx.retry asks for', () => {
    expect(decide(new RetryRequest({ delayMs: 7 }), 1)).toEqual({ type: 'retry', delayMs: 7, countAttempt: true })
    expect(decide(new RetryRequest({ delayMs: 7 }), 3)).toEqual({ type: 'dead-letter', reason: 'exhausted' })
    expect(decide(new RetryRequest({ delayMs: 7, countAttempt: false }), 99)).toEqual({
      type: 'retry',
      delayMs: 7,
      countAttempt: false,
    })
    expect(decide(new RetryRequest({ delayMs: 7 }), 1, { retryIf: () => false })).toMatchObject({ type: 'retry' })
  })
})

describe('the retry budget', () => {
  it('puts off what goes beyond it, by the minute', () => {
    let now = 0
    const limited = new RetryPolicy(
      { ...policy, baseMs: 0, budgetPerMinute: 2 },
      { ...systemClock, monotonic: () => now },
    )
    const delay = (): number => (limited.decide(new Error('x'), message(), 1) as { delayMs: number }).delayMs
    expect([delay(), delay(), delay(), delay(), delay()]).toEqual([0, 0, 60_000, 60_000, 120_000])
    now = 200_000
    expect(delay()).toBe(0)
  })
})
