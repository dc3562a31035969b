import { afterEach, describe, expect, it } from 'vitest'
import { createBus, defineEvent, PublishError, StateError, UnsupportedError, ValidationError } from 'busbar'
import type { Bus, BusOptions, Transaction } from 'busbar'
import { manualClock } from 'busbar/testing'
import type { ManualClock } from 'busbar/testing'
import { z } from 'zod'
import { turn } from './stage.ts'
import { notSent, StubTransport } from './stub-transport.ts'

const Paid = defineEvent('orders.paid', z.object({ orderId: z.string() }), { key: ({ orderId }) => orderId })

const open: Bus[] = []
afterEach(async () => {
  await Promise.all(open.splice(0).map((bus) => bus.close({ timeoutMs: 0 })))
})

interface Stage {
  readonly bus: Bus
  readonly transport: StubTransport
  readonly clock: ManualClock
}

async function stage(options: Partial<BusOptions> = {}, can = true): Promise<Stage> {
  const transport = new StubTransport({ transactions: can })
  const clock = manualClock()
  const bus = createBus({ service: 'test', transport, clock, logger: false, ...options })
  open.push(bus)
  await bus.start()
  return { bus, transport, clock }
}

function ids(batches: readonly (readonly { readonly id: string }[])[]): string[][] {
  return batches.map((batch) => batch.map(({ id }) => id))
}

describe('bus.transaction', () => {
  it('sends nothing before its callback has ended, then all in the order of the calls', async () => {
    const { bus, transport } = await stage()
    let sentMeanwhile = -1
    const result = await bus.transaction(async (tx) => {
      expect(await tx.publish(Paid, { orderId: 'a' }, { id: '1' })).toEqual({ id: '1', position: undefined })
      const many = await tx.publishMany('audit', [
        { data: 1, id: '2' },
        { data: 2, id: '3', key: 'k' },
      ])
      expect(many.map(({ id }) => id)).toEqual(['2', '3'])
      // Not waited for: it belongs to the transaction all the same.
      void tx.publish('audit', 4, { id: '4' })
      await turn()
      sentMeanwhile = transport.transactions.length
      return 'done'
    })
    expect(result).toBe('done')
    expect(sentMeanwhile).toBe(0)
    expect(ids(transport.transactions)).toEqual([['1', '2', '3', '4']])
    expect(transport.published).toEqual([])
    expect(transport.transactions[0]?.map(({ topic, key }) => [topic, key])).toEqual([
      ['orders.paid', 'a'],
      ['audit', undefined],
      ['audit', 'k'],
      ['audit', undefined],
    ])
  })

  it('resolves when it is committed, and not before', async () => {
    const { bus, transport } = await stage()
    const committed = Promise.withResolvers<void>()
    transport.commit = async (batch) => {
      await committed.promise
      return batch.map(() => ({ n: 1 }))
    }
    let isDone = false
    const done = bus.transaction((tx) => void tx.publish('a', 1)).then(() => (isDone = true))
    await turn()
    expect([transport.transactions.length, isDone]).toEqual([1, false])
    committed.resolve()
    await done
  })

  it('keeps the order of the calls when schemas take their time', async () => {
    const { bus, transport } = await stage()
    const slow = { '~standard': { version: 1, vendor: 'test', validate: later } } as const
    async function later(value: unknown): Promise<{ readonly value: number }> {
      await turn()
      return { value: value as number }
    }
    const Slow = defineEvent('slow', slow)
    await bus.transaction((tx) => {
      void tx.publish(Slow, 1, { id: '1' })
      void tx.publish('a', 2, { id: '2' })
      void tx.publishMany(Slow, [
        { data: 3, id: '3' },
        { data: 4, id: '4' },
      ])
    })
    expect(ids(transport.transactions)).toEqual([['1', '2', '3', '4']])
  })

  it('publishes nothing when the callback throws, and rejects with its error', async () => {
    const { bus, transport } = await stage()
    const error = new Error('out of stock')
    await expect(
      bus.transaction(async (tx) => {
        await tx.publish('a', 1)
        throw error
      }),
    ).rejects.toBe(error)
    await turn()
    expect([transport.transactions, transport.published]).toEqual([[], []])
  })

  it('does nothing at the broker when nothing was published', async () => {
    const { bus, transport } = await stage()
    expect(await bus.transaction(() => 5)).toBe(5)
    expect(transport.transactions).toEqual([])
  })

  it.each(['swallowed', 'not waited for'])(
    'fails with a message that can not be made, even if that is %s',
    async (how) => {
      const { bus, transport } = await stage()
      await expect(
        bus.transaction(async (tx) => {
          await tx.publish('a', 1)
          const bad = tx.publish(Paid, { orderId: 5 } as never)
          if (how === 'swallowed') await bad.catch(() => {})
        }),
      ).rejects.toThrow(ValidationError)
      expect(transport.transactions).toEqual([])
    },
  )

  it('refuses options of one message that concern all, and bad items, by name', async () => {
    const { bus, transport } = await stage()
    const failing = (work: (tx: Transaction) => unknown) => bus.transaction(work).then(() => 'no error', String)
    expect(await failing((tx) => tx.publish('a', 1, { transport: 'other' } as never))).toContain('transport')
    expect(await failing((tx) => tx.publishMany('a', [5 as never]))).toContain('An item of publishMany')
    expect(await failing((tx) => tx.publishMany('a', 5 as never))).toContain('must be a list of')
    expect(await failing((tx) => tx.publish('no topic', 1))).toContain('no topic')
    expect(String(await bus.transaction(5 as never).catch(String))).toContain('bus.transaction(async (tx) => …)')
    expect(String(await bus.transaction(() => 1, { timeoutMs: 1 } as never).catch(String))).toContain('timeoutMs')
    expect(transport.transactions).toEqual([])
  })

  it('is refused before the callback on a transport without transactions', async () => {
    const { bus } = await stage({}, false)
    let called = false
    const refused = bus.transaction(() => (called = true))
    await expect(refused).rejects.toThrow(UnsupportedError)
    await expect(refused).rejects.toThrow('stub has no transactions: use bus.publishMany')
    expect(called).toBe(false)
  })

  it('refuses what comes after its callback, unless the callback failed', async () => {
    const { bus, transport } = await stage()
    let late: Transaction | undefined
    await bus.transaction((tx) => {
      late = tx
    })
    await expect(late?.publish('a', 1)).rejects.toThrow(StateError)
    await expect(late?.publishMany('a', [{ data: 1 }])).rejects.toThrow(
      'after the callback of its transaction had ended',
    )
    expect(transport.transactions).toEqual([])
  })

  it('is bounded', async () => {
    const { bus, transport } = await stage({ publish: { maxBufferedBytes: 2_000 } })
    await expect(
      bus.transaction((tx) =>
        tx.publishMany(
          'a',
          [1, 2, 3, 4].map((data) => ({ data })),
        ),
      ),
    ).rejects.toThrow('more than 2000 bytes')
    expect(transport.transactions).toEqual([])
  })

  it('passes publish middleware as messages of bus.encode do', async () => {
    const calls: string[] = []
    const { bus, transport } = await stage({
      publishMiddleware: [
        (next) => (call) => {
          calls.push(`${call.mode} ${call.topic} ${call.transport}`)
          return next({ ...call, items: call.items.map((item) => ({ ...item, headers: { tenant: 'acme' } })) })
        },
      ],
    })
    await bus.transaction((tx) => tx.publish('a', 1))
    expect(calls).toEqual(['encode a main'])
    expect(transport.transactions[0]?.[0]?.headers['tenant']).toBe('acme')
  })

  it('continues the conversation in which it is called', async () => {
    const { bus, transport } = await stage()
    await bus.within({ correlationId: 'c', causationId: 'm' }, () => bus.transaction((tx) => tx.publish('a', 1)))
    expect(transport.transactions[0]?.[0]).toMatchObject({ correlationId: 'c', causationId: 'm' })
  })
})

describe('the outcome of a transaction', () => {
  it.each(['not-sent', 'unknown'] as const)('is that of the transport: %s', async (outcome) => {
    const { bus, transport } = await stage()
    const failed: string[] = []
    bus.events.on('publishFailed', ({ message, error }) =>
      failed.push(`${message.id} ${(error as PublishError).outcome}`),
    )
    transport.commit = () => Promise.reject(new PublishError('the broker is away', { outcome, retryable: true }))
    const error: unknown = await bus
      .transaction((tx) =>
        tx.publishMany('a', [
          { data: 1, id: '1' },
          { data: 2, id: '2' },
        ]),
      )
      .catch((reason: unknown) => reason)
    expect(error).toMatchObject({ code: 'BUSBAR_PUBLISH', outcome, retryable: true })
    expect(String(error)).toContain(
      outcome === 'not-sent'
        ? 'The transaction of 2 messages ("a") was not committed: none of its messages is stored. the broker is away'
        : 'may have been committed: either all of its messages are stored, or none',
    )
    expect(failed).toEqual([`1 ${outcome}`, `2 ${outcome}`])
  })

  it('is unknown when the transport fails in another way', async () => {
    const { bus, transport } = await stage()
    transport.commit = () => Promise.reject(new TypeError('boom'))
    await expect(bus.transaction((tx) => tx.publish('a', 1))).rejects.toMatchObject({ outcome: 'unknown' })
  })

  it('is unknown when the transport does not answer by the deadline, which begins with the commit', async () => {
    const { bus, transport, clock } = await stage({ publish: { deliveryTimeoutMs: 1_000 } })
    let signal: AbortSignal | undefined
    transport.commit = (_batch, given) => {
      signal = given
      return new Promise(() => {})
    }
    const gate = Promise.withResolvers<void>()
    const done = bus
      .transaction(async (tx) => {
        await tx.publish('a', 1)
        await gate.promise
      })
      .catch((error: unknown) => error)
    await clock.advance(5_000)
    expect(signal).toBeUndefined()
    gate.resolve()
    await turn()
    await clock.advance(1_100)
    expect(await done).toMatchObject({ outcome: 'unknown', retryable: true })
    expect(signal?.aborted).toBe(true)
  })

  it('is what the transport says when it is aborted, and not-sent before that', async () => {
    const { bus, transport } = await stage()
    transport.commit = (_batch, signal) =>
      new Promise((_resolve, reject) => signal?.addEventListener('abort', () => reject(notSent('rolled back'))))
    const abort = new AbortController()
    const done = bus.transaction((tx) => tx.publish('a', 1), { signal: abort.signal })
    await turn()
    abort.abort()
    await expect(done).rejects.toMatchObject({ outcome: 'not-sent' })
    await expect(bus.transaction((tx) => tx.publish('a', 1), { signal: abort.signal })).rejects.toMatchObject({
      outcome: 'not-sent',
    })
    expect(transport.transactions).toHaveLength(1)
  })

  it('is that nothing was sent when the bus is closed before the callback ends', async () => {
    const { bus, transport } = await stage()
    const done = bus.transaction(async (tx) => {
      await tx.publish('a', 1)
      await bus.close()
    })
    await expect(done).rejects.toThrow('The bus is closed')
    expect(transport.transactions).toEqual([])
  })

  it('is waited for by a close that comes after its callback', async () => {
    const { bus, transport } = await stage()
    const committed = Promise.withResolvers<void>()
    transport.commit = async (batch) => {
      await committed.promise
      return batch.map(() => undefined)
    }
    const done = bus.transaction((tx) => tx.publish('a', 1))
    await turn()
    const closed = bus.close()
    await turn()
    committed.resolve()
    await done
    await closed
  })
})

describe('transactions beside other publishes', () => {
  it('are calls of their own: never in one batch with others, and not cut at maxBatchSize', async () => {
    const { bus, transport } = await stage({ publish: { maxBatchSize: 2 } })
    const order: string[] = []
    const { answer, commit } = transport
    transport.answer = (batch, signal) => {
      order.push(`publish ${batch.map(({ id }) => id).join(' ')}`)
      return answer(batch, signal)
    }
    transport.commit = (batch, signal) => {
      order.push(`transaction ${batch.map(({ id }) => id).join(' ')}`)
      return commit(batch, signal)
    }
    const transaction = (...names: string[]) =>
      bus.transaction((tx) => {
        for (const id of names) void tx.publish('a', 1, { id })
      })
    const first = transaction('t1', 't2', 't3')
    const second = transaction('u1')
    await Promise.all([first, second, bus.publish('a', 1, { id: 'p1' })])
    expect(order.toSorted()).toEqual(['publish p1', 'transaction t1 t2 t3', 'transaction u1'])
  })

  it('count and report as other publishes do', async () => {
    const { bus } = await stage()
    const published: unknown[] = []
    const observed: string[][] = []
    bus.events.on('published', ({ topic, count, failed }) => published.push([topic, count, failed]))
    bus.observe({ publishStart: ({ messages }) => void observed.push(messages.map(({ id }) => id)) })
    await bus.transaction(async (tx) => {
      await tx.publish('a', 1, { id: '1' })
      await tx.publish('b', 1, { id: '2' })
      await tx.publish('a', 1, { id: '3' })
    })
    expect(published).toEqual([
      ['a', 2, 0],
      ['b', 1, 0],
    ])
    expect(observed).toEqual([['1', '2', '3']])
    expect(bus.snapshot().published.topics.map(({ topic, confirmed }) => [topic, confirmed])).toEqual([
      ['a', 2],
      ['b', 1],
    ])
  })
})
