import { describe, expect, it } from 'vitest'
import { RemoteError, TimeoutError } from 'busbar'
import { failureOf, PendingRequests, RunningRequests } from 'busbar/transport'
import type { EncodedMessage, RequestAnswer } from 'busbar/transport'
import { manualClock } from 'busbar/testing'
import { outgoing } from '../../../src/testing/conformance/raw.ts'

const never = { timeoutMs: 3_600_000 }

async function errorOf(request: Promise<EncodedMessage>): Promise<unknown> {
  return request.then(
    () => undefined,
    (error: unknown) => error,
  )
}

describe('PendingRequests', () => {
  it('settles each request with its own answer, and ignores a second one', async () => {
    const pending = new PendingRequests(manualClock())
    const ids: number[] = []
    const [first, second] = ['a', 'b'].map((topic) => pending.start(topic, never, (id) => ids.push(id)))
    pending.answer(ids[1] as number, { reply: outgoing('b', { key: '2' }) })
    expect(ids.map((id) => pending.topicOf(id))).toEqual(['a', undefined])
    pending.answer(ids[1] as number, { reply: outgoing('b', { key: 'late' }) })
    pending.answer(ids[0] as number, { reply: outgoing('a', { key: '1' }) })
    expect(await first).toMatchObject({ topic: 'a', key: '1' })
    expect(await second).toMatchObject({ topic: 'b', key: '2' })
    pending.answer(99, failureOf(new Error('of nobody')))
  })

  it('has a limit, and room again when a request has settled', async () => {
    const pending = new PendingRequests(manualClock(), 2)
    const ids: number[] = []
    const start = (): Promise<EncodedMessage> => pending.start('t', never, (id) => ids.push(id))
    const open = [start(), start()]
    const error = await errorOf(start())
    expect(error).toMatchObject({ outcome: 'not-sent', retryable: true })
    expect(ids).toHaveLength(2)
    pending.answer(ids[0] as number, failureOf(new Error('no')))
    expect(RemoteError.is(await errorOf(open[0] as Promise<EncodedMessage>))).toBe(true)
    open.push(start())
    expect(ids).toHaveLength(3)
    pending.close()
    for (const request of open.slice(1)) expect(await errorOf(request)).toMatchObject({ outcome: 'unknown' })
    expect(await errorOf(start())).toMatchObject({ outcome: 'not-sent' })
    expect(ids).toHaveLength(3)
  })

  it('ends a request at its time limit, not before', async () => {
    const clock = manualClock()
    const pending = new PendingRequests(clock)
    let error: unknown
    void errorOf(pending.start('t', { timeoutMs: 500 }, () => {})).then((reason) => (error = reason))
    await clock.advance(499)
    expect(error).toBeUndefined()
    await clock.advance(50)
    expect(TimeoutError.is(error)).toBe(true)
  })

  it('fails a request that cannot be sent, and leaves nothing pending', async () => {
    const pending = new PendingRequests(manualClock(), 1)
    const broken = new Error('no connection')
    const send = (): void => {
      throw broken
    }
    expect(await errorOf(pending.start('t', never, send))).toBe(broken)
    expect(await errorOf(pending.start('t', never, send))).toBe(broken)
  })

  it('stops listening to the signal when the request has settled', async () => {
    const pending = new PendingRequests(manualClock())
    const { signal } = new AbortController()
    let listening = 0
    const counting = new Proxy(signal, {
      get: (target, name) => {
        if (name === 'addEventListener') return () => listening++
        if (name === 'removeEventListener') return () => listening--
        return Reflect.get(target, name, target) as unknown
      },
    })
    const request = pending.start('t', { ...never, signal: counting }, (id) =>
      pending.answer(id, { reply: outgoing('t') }),
    )
    await request
    expect(listening).toBe(0)
  })
})

describe('RunningRequests', () => {
  const spec = { topic: 't', group: 'g', maxInFlight: 1 }
  const size = { maxMessageBytes: 100, system: 'test' }

  it('answers with a failure for whatever the responder throws, cut to a bounded size', async () => {
    for (const thrown of [new Error('x'.repeat(5_000)), 'text', null, undefined, Object.create(null)]) {
      const running = new RunningRequests(spec, () => Promise.reject(thrown as Error), manualClock(), size)
      const answer = await new Promise<RequestAnswer>((resolve) => running.run(outgoing('t'), resolve))
      expect(answer).toMatchObject({ isRefusal: false })
      expect(answer.reply === undefined && answer.failure.length <= 1_024 && answer.failure !== '').toBe(true)
    }
  })

  it('gives the reply the topic of its request', async () => {
    const running = new RunningRequests(spec, async () => outgoing('other'), manualClock(), size)
    const answer = await new Promise<RequestAnswer>((resolve) => running.run(outgoing('t'), resolve))
    expect(answer.reply?.topic).toBe('t')
  })

  it('answers once when a reply comes after the deadline of close', async () => {
    const clock = manualClock()
    const answers: RequestAnswer[] = []
    const { promise, resolve } = Promise.withResolvers<EncodedMessage>()
    const running = new RunningRequests(spec, () => promise, clock, size)
    running.run(outgoing('t'), (answer) => answers.push(answer))
    const closing = running.close(1_000)
    await clock.advance(1_000)
    await closing
    expect(answers).toMatchObject([{ isRefusal: false }])
    resolve(outgoing('t'))
    running.run(outgoing('t'), (answer) => answers.push(answer))
    await clock.advance(1)
    expect(answers).toMatchObject([{ isRefusal: false }, { isRefusal: true }])
  })
})
