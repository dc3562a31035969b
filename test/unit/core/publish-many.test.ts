import { expect, it } from 'vitest'
import { createBus, PublishError } from 'busbar'
import { delivery, notSent, StubTransport } from './stub-transport.ts'

it.each(['bus', 'ctx'] as const)(
  '%s.publishMany rejects unless all are published, and gives results on request',
  async (by) => {
    const transport = new StubTransport()
    transport.answer = async (batch) =>
      batch.map(({ id }) => (id === 'bad' ? { error: notSent() } : { position: { number: 1 } }))
    const bus = createBus({ service: 'test', transport, logger: false })
    const publisher =
      by === 'bus'
        ? bus
        : await new Promise<Pick<typeof bus, 'publishMany'>>((resolve) => {
            bus.consume('in', (_, ctx) => (resolve(ctx), new Promise(() => {})))
            void bus.start().then(() => transport.subscriptions[0]?.deliver(delivery('a')))
          })
    if (by === 'bus') await bus.start()
    const good = { data: 1, id: 'good' }
    const bad = { data: 2, id: 'bad' }
    const late = { data: undefined, id: 'late' }

    expect(await publisher.publishMany('t', [good, good])).toEqual([
      { id: 'good', position: { number: 1 } },
      { id: 'good', position: { number: 1 } },
    ])
    const error: unknown = await publisher.publishMany('t', [good, bad, late]).catch((reason: unknown) => reason)
    expect(PublishError.is(error) && [error.outcome, error.retryable]).toEqual(['not-sent', false])
    expect(String(error)).toContain('2 of 3 messages for "t" were not published; the first: the broker is away')
    expect((error as { cause?: unknown }).cause).toMatchObject({
      errors: [{ code: 'BUSBAR_PUBLISH' }, { code: 'BUSBAR_CODEC' }],
    })
    // The others were sent.
    expect(transport.published.flat().map(({ id }) => id)).toEqual(['good', 'good', 'good', 'bad'])

    const results = await publisher.publishMany('t', [good, bad], { allowFailures: true })
    expect(results).toMatchObject([{ id: 'good' }, { id: 'bad', error: { code: 'BUSBAR_PUBLISH' } }])
    expect(results[0]?.error).toBeUndefined()
    await bus.close({ timeoutMs: 0 })
  },
)
