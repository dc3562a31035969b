import { expect, it } from 'vitest'
import { manualClock } from 'busbar/testing'
import {
  LostReplyError,
  NotSentError,
  refusesEverybody,
  replyCode,
  toPublishError,
} from '../../../src/transports/redis/errors.ts'
import { withinLimit } from '../../../src/transports/redis/connection/within-limit.ts'

const never = (): Promise<never> => new Promise(() => {})

it('work that ends in time is all there is', async () => {
  const clock = manualClock()
  const outer = new AbortController()
  expect(await withinLimit(clock, 100, outer.signal, async () => 'done')).toBe('done')
  const failure = new Error('refused')
  await expect(withinLimit(clock, 100, outer.signal, () => Promise.reject(failure))).rejects.toBe(failure)
  // Neither the time nor the outer signal means anything any more.
  await clock.advance(1_000)
  outer.abort()
})

it('work that does not end is given up, and learns of it', async () => {
  const clock = manualClock()
  let inner: AbortSignal | undefined
  const work = withinLimit(clock, 100, new AbortController().signal, (signal) => {
    inner = signal
    return never()
  })
  const outcome = work.catch((error: unknown) => error)
  await clock.advance(99)
  expect(inner?.aborted).toBe(false)
  await clock.advance(1)
  expect(await outcome).toBeInstanceOf(LostReplyError)
  expect(await outcome).toMatchObject({ message: 'no answer within 100 ms' })
  expect(inner?.aborted).toBe(true)
})

it('ends with the outer signal, and does not begin after it', async () => {
  const clock = manualClock()
  const outer = new AbortController()
  const work = withinLimit(clock, 100, outer.signal, never)
  const reason = new Error('closing')
  outer.abort(reason)
  await expect(work).rejects.toBe(reason)
  let begun = false
  await expect(
    withinLimit(clock, 100, outer.signal, () => {
      begun = true
      return never()
    }),
  ).rejects.toBe(reason)
  expect(begun).toBe(false)
})

it.each([
  ['WRONGTYPE Operation against a key', 'WRONGTYPE', 'not-sent', false],
  ['OOM command not allowed', 'OOM', 'not-sent', true],
  ['BUSY', 'BUSY', 'not-sent', true],
  ['ERR unknown command', 'ERR', 'not-sent', false],
  [
    'ERR Error running script (call to f_1): @user_script:2: @user_script: 2: -OOM command not allowed',
    'OOM',
    'not-sent',
    true,
  ],
  ['NOAUTH Authentication required.', 'NOAUTH', 'not-sent', false],
  ['Socket closed unexpectedly', undefined, 'unknown', true],
  ['READ only', 'READ', 'not-sent', true],
  ['x', undefined, 'unknown', true],
  ['', undefined, 'unknown', true],
])('the reply %j', (text, code, outcome, retryable) => {
  const error = new Error(text)
  expect(replyCode(error)).toBe(code)
  expect(toPublishError(error, 'orders')).toMatchObject({ outcome, retryable })
  expect(refusesEverybody(error)).toBe(code === 'BUSY')
})

it('what is no reply', () => {
  for (const thrown of ['OOM', null, undefined, {}, { message: 'OOM x' }]) expect(replyCode(thrown)).toBeUndefined()
  expect(toPublishError(new NotSentError('no connection'), 'orders').outcome).toBe('not-sent')
})
