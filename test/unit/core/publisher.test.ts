import { describe, expect, it } from 'vitest'
import { createBus } from 'busbar'
import type { Bus, PublishError } from 'busbar'
import type { PublishOutcome } from 'busbar/transport'
import { manualClock } from 'busbar/testing'
import { notSent, StubTransport } from './stub-transport.ts'

async function start(transport: StubTransport, publish: object = {}, clock = manualClock()): Promise<Bus> {
  const bus = createBus({ logger: false, service: 'test', transport, publish, clock })
  await bus.start()
  return bus
}

/** Runs everything that is ready to run. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

function fate(promise: Promise<unknown>): { state: string; error?: PublishError } {
  const seen: { state: string; error?: PublishError } = { state: 'open' }
  promise.then(
    () => {
      seen.state = 'ok'
    },
    (error: PublishError) => {
      seen.state = 'failed'
      seen.error = error
    },
  )
  return seen
}

describe('gathering', () => {
  it('makes one batch of the calls of a turn, also of those that microtasks make', async () => {
    const transport = new StubTransport()
    const bus = await start(transport)
    const later = Promise.resolve()
      .then(() => Promise.resolve())
      .then(() => bus.publish('a', 3))
    await Promise.all([bus.publish('a', 1), bus.publish('b', 2), later])
    expect(transport.published.map((batch) => batch.map(({ topic }) => topic))).toEqual([['a', 'b', 'a']])
    await bus.close()
  })

  it('splits at maxBatchSize and keeps the order, singles and many mixed', async () => {
    const transport = new StubTransport()
    const bus = await start(transport, { maxBatchSize: 2 })
    await Promise.all([
      bus.publish('t', 0),
      bus.publishMany('t', [{ data: 1 }, { data: 2 }, { data: 3 }]),
      bus.publish('t', 4),
    ])
    const sent = transport.published.map((batch) => batch.map(({ body }) => Number(Buffer.from(body ?? []).toString())))
    expect(sent.flat()).toEqual([0, 1, 2, 3, 4])
    for (const batch of sent) expect(batch.length).toBeLessThanOrEqual(2)
    await bus.close()
  })

  it('keeps a call of many messages apart, so that its caller waits for no other call', async () => {
    const transport = new StubTransport()
    const answers: (() => void)[] = []
    transport.answer = (batch) =>
      new Promise((resolve) => answers.push(() => resolve(batch.map(() => ({ position: { n: 1 } })))))
    const bus = await start(transport)
    const many = Array.from({ length: 100 }, (_, data) => ({ data }))
    const calls = [
      bus.publish('t', 0),
      bus.publish('t', 1),
      bus.publishMany('t', many),
      bus.publishMany('t', many),
      bus.publish('t', 2),
    ]
    const [first, , second] = calls.map((call) => fate(call))
    await turn()
    expect(transport.published.map((batch) => batch.length)).toEqual([2, 100, 100, 1])
    answers[1]?.()
    await turn()
    expect([first?.state, second?.state]).toEqual(['open', 'ok'])
    for (const answer of answers) answer()
    await Promise.all(calls)
    await bus.close()
  })
})

describe('fates', () => {
  it('gives each message its own', async () => {
    const transport = new StubTransport()
    transport.answer = async (batch) =>
      batch.map(({ body }): PublishOutcome =>
        Buffer.from(body ?? []).toString() === '2' ? { error: notSent() } : { position: { n: 1 } },
      )
    const bus = await start(transport)
    const results = await bus.publishMany(
      't',
      [{ data: 1 }, { data: 2 }, { data: 3, headers: { 'a b': '' } }, { data: 4 }],
      { allowFailures: true },
    )
    expect(results.map(({ error }) => error?.message.slice(0, 12))).toEqual([
      undefined,
      'the broker i',
      'The headers ',
      undefined,
    ])
    expect(new Set(results.filter(({ error }) => error === undefined).map(({ id }) => id)).size).toBe(2)
    await expect(bus.publish('t', 2)).rejects.toMatchObject({ code: 'BUSBAR_PUBLISH', outcome: 'not-sent' })
    await bus.close()
  })

  it.each([
    ['rejects', () => Promise.reject(new Error('boom'))],
    [
      'throws',
      () => {
        throw new Error('boom')
      },
    ],
    ['answers with too little', () => Promise.resolve([])],
  ])('is unknown when a broken transport %s', async (_what, answer) => {
    const transport = new StubTransport()
    transport.answer = answer
    const bus = await start(transport)
    await expect(bus.publish('t', 1)).rejects.toMatchObject({ code: 'BUSBAR_PUBLISH', outcome: 'unknown' })
    await bus.close()
  })

  it('is unknown after the deadline when the transport has it, and the late answer changes nothing', async () => {
    const transport = new StubTransport()
    const clock = manualClock()
    let answer: (outcomes: readonly PublishOutcome[]) => void = () => {}
    let signal: AbortSignal | undefined
    transport.answer = (_batch, given) => {
      signal = given
      return new Promise((resolve) => {
        answer = resolve
      })
    }
    const bus = await start(transport, { deliveryTimeoutMs: 1_000 }, clock)
    const first = fate(bus.publish('t', 1))
    await turn()
    await clock.advance(900)
    expect(first.state).toBe('open')
    await clock.advance(200)
    expect(first).toMatchObject({ state: 'failed', error: { outcome: 'unknown', retryable: true } })
    expect(first.error?.message).toBe(
      'Publishing to "t" was not confirmed within 1,000 ms (publish.deliveryTimeoutMs): transport "main" (stub) got no answer. The broker may have it.',
    )
    expect(signal?.aborted).toBe(true)
    answer([{ position: undefined }])
    await turn()
    expect(first.state).toBe('failed')
    await bus.close()
  })

  it('is not-sent after the deadline when it never found room', async () => {
    const transport = new StubTransport()
    const clock = manualClock()
    transport.answer = () => new Promise(() => {})
    const bus = await start(transport, { deliveryTimeoutMs: 1_000, maxBufferedBytes: 1_024 }, clock)
    const full: unknown[] = []
    bus.events.on('bufferFull', (event) => full.push(event))
    const big = 'x'.repeat(600)
    const first = fate(bus.publish('t', big))
    const second = fate(bus.publish('t', big))
    const third = fate(bus.publish('t', big))
    await turn()
    expect(transport.published).toHaveLength(1)
    expect(full).toHaveLength(1)
    await clock.advance(1_100)
    expect(first.error?.outcome).toBe('unknown')
    expect(second.error?.outcome).toBe('not-sent')
    expect(third.error?.outcome).toBe('not-sent')
    await bus.close({ timeoutMs: 0 })
  })

  it('continues in order as soon as there is room', async () => {
    const transport = new StubTransport()
    const answers: (() => void)[] = []
    transport.answer = (batch) =>
      new Promise((resolve) => answers.push(() => resolve(batch.map(() => ({ position: undefined })))))
    const bus = await start(transport, { maxBufferedBytes: 2_048 })
    const fates = [1, 2, 3, 4, 5].map((n) => fate(bus.publish('t', String(n).repeat(900))))
    for (let round = 0; round < 5; round++) {
      await turn()
      answers.shift()?.()
    }
    await turn()
    expect(fates.map(({ state }) => state)).toEqual(['ok', 'ok', 'ok', 'ok', 'ok'])
    expect(transport.published.flat().map(({ body }) => body?.[1])).toEqual([49, 50, 51, 52, 53])
    await bus.close()
  })

  it('follows an abort signal: not-sent while it waits here, unknown when the transport has it', async () => {
    const transport = new StubTransport()
    transport.answer = () => new Promise(() => {})
    const bus = await start(transport, { maxBufferedBytes: 1_024 })
    const [sent, waiting] = [new AbortController(), new AbortController()]
    const first = fate(bus.publish('t', 'x'.repeat(600), { signal: sent.signal }))
    const second = fate(bus.publish('t', 'x'.repeat(600), { signal: waiting.signal }))
    await turn()
    sent.abort(new Error('enough'))
    waiting.abort(new Error('enough'))
    await turn()
    expect(first.error).toMatchObject({ outcome: 'unknown', cause: { message: 'enough' } })
    expect(second.error).toMatchObject({ outcome: 'not-sent' })
    await expect(bus.publish('t', 1, { signal: AbortSignal.abort() })).rejects.toMatchObject({ outcome: 'not-sent' })
    expect(transport.published).toHaveLength(1)
    await bus.close({ timeoutMs: 0 })
  })

  describe('of which the transport knows when the wait ends that it sent nothing', () => {
    const unconnected = (): StubTransport => {
      const transport = new StubTransport()
      transport.answer = (batch, signal) =>
        new Promise((resolve) => {
          const abort = (): void => resolve(batch.map(() => ({ error: notSent() })))
          // Some need a moment to find out.
          signal?.addEventListener('abort', () => setImmediate(abort))
        })
      return transport
    }

    it('is not-sent after the deadline', async () => {
      const clock = manualClock()
      const bus = await start(unconnected(), { deliveryTimeoutMs: 1_000 }, clock)
      const failed: unknown[] = []
      bus.events.on('publishFailed', ({ error }) => failed.push((error as PublishError).outcome))
      const fates = [fate(bus.publish('t', 1)), fate(bus.publish('t', 2))]
      await turn()
      await clock.advance(1_100)
      expect(fates.map(({ error }) => error?.outcome)).toEqual(['not-sent', 'not-sent'])
      expect(failed).toEqual(['not-sent', 'not-sent'])
      await bus.close()
    })

    it('names the limit and the reason when there is no connection', async () => {
      const clock = manualClock()
      const transport = unconnected()
      const bus = await start(transport, { deliveryTimeoutMs: 2_000 }, clock)
      let connected = false
      transport.health = () => ({ connected, detail: 'connect ECONNREFUSED' }) as { connected: boolean }
      const down = fate(bus.publish('t', 1))
      await turn()
      await clock.advance(2_100)
      expect(down.error).toMatchObject({
        outcome: 'not-sent',
        retryable: true,
        message:
          'Publishing to "t" was not confirmed within 2,000 ms (publish.deliveryTimeoutMs): transport "main" (stub) is not connected, connect ECONNREFUSED. It was not sent.',
        cause: { message: 'the broker is away' },
      })
      connected = true
      const up = fate(bus.publish('t', 1))
      await turn()
      await clock.advance(2_100)
      expect(up.error).toMatchObject({ outcome: 'not-sent', message: 'the broker is away' })
      await bus.close()
    })

    it('is not-sent when a signal aborts, and unknown beside one of its batch that still waits', async () => {
      const bus = await start(unconnected())
      const [shared, own] = [new AbortController(), new AbortController()]
      const options = { signal: shared.signal }
      const alone = [fate(bus.publish('t', 1, options)), fate(bus.publish('t', 2, options))]
      await turn()
      const beside = [fate(bus.publish('t', 3, options)), fate(bus.publish('t', 4, { signal: own.signal }))]
      await turn()
      shared.abort()
      await turn()
      expect(alone.map(({ error }) => error?.outcome)).toEqual(['not-sent', 'not-sent'])
      expect(beside.map(({ error }) => error?.outcome)).toEqual(['unknown', undefined])
      own.abort()
      await turn()
      expect(beside[1]?.error?.outcome).toBe('not-sent')
      await bus.close()
    })

    it.each([
      ['not-sent', 'after'],
      ['unknown', 'before'],
    ])('is %s when it is aborted %s the rest of its batch is answered, and holds nothing up', async (outcome, when) => {
      const transport = new StubTransport()
      const other = Promise.withResolvers<PublishOutcome>()
      let isOver = false
      transport.answer = async (_batch, signal) => {
        const late = new Promise<PublishOutcome>((resolve) => {
          signal?.addEventListener('abort', () => {
            isOver = true
            resolve({ error: notSent() })
          })
        })
        return [late, other.promise]
      }
      const bus = await start(transport)
      const controller = new AbortController()
      const aborted = fate(bus.publish('t', 1, { signal: controller.signal }))
      const waiting = fate(bus.publish('t', 2))
      await turn()
      if (when === 'after') other.resolve({ position: undefined })
      await turn()
      controller.abort()
      await turn()
      expect([aborted.error?.outcome, isOver]).toEqual([outcome, when === 'after'])
      other.resolve({ position: undefined })
      await turn()
      expect([waiting.state, isOver]).toEqual(['ok', true])
      const closed = fate(bus.close())
      await turn()
      expect(closed.state).toBe('ok')
    })

    it('is not-sent when the bus is closed', async () => {
      const bus = await start(unconnected())
      const published = fate(bus.publish('t', 1))
      await turn()
      await bus.close({ timeoutMs: 0 })
      expect(published.error?.outcome).toBe('not-sent')
    })
  })

  it('keeps its outcomes when a listener aborts the call in the middle of them', async () => {
    const transport = new StubTransport()
    transport.answer = async (batch) =>
      batch.map((_message, at): PublishOutcome => (at === 1 ? { error: notSent() } : { position: { at } }))
    const bus = await start(transport)
    const controller = new AbortController()
    const failed: string[] = []
    bus.events.on('publishFailed', ({ message }) => {
      failed.push(Buffer.from(message.body ?? []).toString())
      controller.abort()
    })
    const results = await bus.publishMany('t', [{ data: 0 }, { data: 1 }, { data: 2 }], {
      allowFailures: true,
      signal: controller.signal,
    })
    const fates = results.map(({ error }) => (error as PublishError | undefined)?.outcome)
    await turn()
    expect(fates).toEqual([undefined, 'not-sent', undefined])
    expect(results.map(({ error }) => (error as PublishError | undefined)?.outcome)).toEqual(fates)
    expect(failed).toEqual(['1'])
    await bus.close()
  })

  it('refuses a time that no calendar knows', async () => {
    const transport = new StubTransport()
    const bus = await start(transport)
    for (const options of [{ ttlMs: Number.MAX_SAFE_INTEGER }, { delayMs: 1e300 }])
      await expect(bus.publish('t', 1, options)).rejects.toMatchObject({ code: 'BUSBAR_VALIDATION' })
    expect(transport.published).toEqual([])
    await bus.close()
  })

  it('refuses what is too large for the transport before anything is sent', async () => {
    const transport = new StubTransport({ maxMessageBytes: 1_000 })
    const bus = await start(transport)
    await expect(bus.publish('t', 'x'.repeat(2_000))).rejects.toMatchObject({ outcome: 'not-sent', retryable: false })
    expect(transport.published).toHaveLength(0)
    await bus.close()
  })
})

describe('around the life of the bus', () => {
  it('rejects, and never throws, before start and after close', async () => {
    const bus = createBus({ logger: false, service: 'test', transport: new StubTransport() })
    await expect(bus.publish('t', 1)).rejects.toMatchObject({ code: 'BUSBAR_STATE' })
    await bus.start()
    await bus.close()
    await expect(bus.publish('t', 1)).rejects.toMatchObject({ code: 'BUSBAR_STATE' })
    await expect(bus.publishMany('t', [{ data: 1 }])).rejects.toMatchObject({ code: 'BUSBAR_STATE' })
    await expect(bus.start()).rejects.toMatchObject({ code: 'BUSBAR_STATE' })
  })

  it('waits on close for what is on its way, within the deadline', async () => {
    const transport = new StubTransport()
    let answer = (): void => {}
    transport.answer = (batch) =>
      new Promise((resolve) => {
        answer = () => resolve(batch.map(() => ({ position: undefined })))
      })
    const bus = await start(transport)
    const published = fate(bus.publish('t', 1))
    await turn()
    const closed = fate(bus.close())
    await turn()
    expect(closed.state).toBe('open')
    answer()
    await turn()
    await turn()
    expect([published.state, closed.state]).toEqual(['ok', 'ok'])
  })

  it('fails what the transport never answered when the deadline of close has passed', async () => {
    const transport = new StubTransport()
    const clock = manualClock()
    transport.answer = () => new Promise(() => {})
    const bus = await start(transport, {}, clock)
    const published = fate(bus.publish('t', 1))
    await turn()
    const closed = fate(bus.close({ timeoutMs: 500 }))
    await clock.advance(600)
    await turn()
    expect(closed.state).toBe('ok')
    expect(published.error).toMatchObject({ outcome: 'unknown' })
    expect(clock.pending).toBe(0)
  })
})
