import { describe, expect, it } from 'vitest'
import type { BatchContext, HandlerContext, Message } from 'busbar'
import { SettlementError } from 'busbar'
import { letter, LetterStore } from './letter-store.ts'
import { byHand, stage, turn } from './stage.ts'
import { delivery } from './stub-transport.ts'

/** Long enough for a look at the dead letters, and a note. */
async function settled(): Promise<void> {
  for (let round = 0; round < 5; round++) await turn()
}

describe('a transport whose deliveries can not be counted', () => {
  it.each<[string, PropertyDescriptor]>([
    ['a fixed attempt', { value: 1, writable: false }],
    ['an attempt with a getter alone', { get: () => 1 }],
  ])('is named: %s', async (_, attempt) => {
    const fail = (): never => {
      throw new Error('again')
    }
    const { broker } = await stage(fail, { retry: { mode: 'inline' } })
    const fixed = Object.defineProperty(delivery('m'), 'attempt', attempt)
    expect(() => broker.deliver(fixed)).toThrow(
      'The transport "main" (stub) breaks its contract: Delivery.attempt must be writable, because the runtime counts the attempts that it makes in this process',
    )
  })
})

describe('attempts', () => {
  it('are noted for handlers that run for a while, in one call, and not for short ones', async () => {
    const hand = byHand()
    const { broker, clock } = await stage(hand.handler)
    broker.deliver(delivery('short'), delivery('long-1'), delivery('long-2'))
    hand.end('short')
    await clock.advance(15)
    expect(broker.notes).toEqual([])
    await clock.advance(50)
    expect(broker.notes).toEqual(['long-1 1 running', 'long-2 1 running'])
  })

  it('are noted again when the broker did not take the note', async () => {
    const hand = byHand()
    const { broker, clock } = await stage(hand.handler)
    broker.noting = () => Promise.reject(new Error('no leader'))
    const lost = delivery('lost')
    broker.deliver(delivery('swept'), lost, delivery('first', { history: 'unknown' }))
    await clock.advance(60)
    expect(hand.started).toEqual(['swept#1', 'lost#1', 'first#1'])
    expect(broker.notes).toEqual([])
    broker.noting = () => Promise.resolve()
    broker.lose([lost])
    await clock.advance(2_000)
    expect(broker.notes.sort()).toEqual(['first 1 running', 'swept 1 running'])
  })

  it('are noted again together, about once a second, while the broker takes no note', async () => {
    const hand = byHand()
    const { broker, clock } = await stage(hand.handler, { concurrency: 20 })
    let refused = 0
    broker.noting = () => {
      refused++
      return Promise.reject(new Error('no leader'))
    }
    // Each starts on another tick.
    for (let number = 0; number < 20; number++) {
      broker.deliver(delivery(`m${number}`))
      await clock.advance(20)
    }
    await clock.advance(100)
    refused = 0
    for (let ticks = 0; ticks < 500; ticks++) await clock.advance(20)
    expect(refused).toBeGreaterThanOrEqual(5)
    expect(refused).toBeLessThanOrEqual(20)
    broker.noting = () => Promise.resolve()
    await clock.advance(2_000)
    expect(broker.notes).toHaveLength(20)
  })

  it('are not noted for one that the broker has taken back', async () => {
    const hand = byHand()
    const { broker, clock } = await stage(hand.handler)
    const lost = delivery('a')
    broker.deliver(lost)
    await clock.advance(15)
    broker.lose([lost])
    await clock.advance(100)
    expect(broker.notes).toEqual([])
  })

  it('are taken back for those of a batch that wait here behind a failed one of their key', async () => {
    const gate = Promise.withResolvers<void>()
    const { broker, clock } = await stage(
      async (messages: readonly Message[]) => {
        await gate.promise
        return messages.map(({ id }) => (id === 'a' ? new Error('no') : undefined))
      },
      { batch: { size: 2, timeoutMs: 10 }, retry: { backoff: 'fixed', baseMs: 30_000 } },
    )
    broker.deliver(delivery('a', { key: 'k' }), delivery('b', { key: 'k' }))
    await clock.advance(50)
    expect(broker.notes).toEqual(['a 1 running', 'b 1 running'])
    gate.resolve()
    await turn()
    expect(broker.notes.slice(2)).toEqual(['a 1 waiting', 'b 0 waiting'])
  })

  it('wait for the note before a message starts that was with a dead process', async () => {
    const hand = byHand()
    const { broker } = await stage(hand.handler)
    const stored = Promise.withResolvers<void>()
    broker.noting = () => stored.promise
    broker.deliver(delivery('a', { history: 'unknown', attempt: 2 }), delivery('b'))
    await turn()
    expect(hand.started).toEqual(['b#1'])
    stored.resolve()
    await turn()
    expect(broker.notes).toEqual(['a 2 running'])
    expect(hand.started).toEqual(['b#1', 'a#2'])
  })

  it('start anyway when the broker does not take the note in time', async () => {
    const hand = byHand()
    const { broker, clock } = await stage(hand.handler)
    broker.noting = () => new Promise(() => {})
    broker.deliver(delivery('a', { history: 'unknown' }))
    await turn()
    await clock.advance(2_000)
    expect(hand.started).toEqual(['a#1'])
  })

  it('note no more of them than may run at once', async () => {
    const hand = byHand()
    const { broker } = await stage(hand.handler, { concurrency: 2 })
    broker.deliver(...['a', 'b', 'c', 'd'].map((id) => delivery(id, { history: 'unknown' })))
    await turn()
    expect(broker.notes).toEqual(['a 1 running', 'b 1 running'])
    hand.end('a')
    await turn()
    await turn()
    expect(broker.notes).toEqual(['a 1 running', 'b 1 running', 'c 1 running'])
  })

  it('note no more of them than may run at once when the dead letters are looked at first', async () => {
    const hand = byHand()
    const { broker } = await stage(hand.handler, { concurrency: 2, onDeadLetter: 'park-key' }, new LetterStore())
    broker.deliver(...['a', 'b', 'c', 'd'].map((id) => delivery(id, { key: id, history: 'unknown' })))
    await settled()
    expect(broker.notes).toEqual(['a 1 running', 'b 1 running'])
    hand.end('a')
    await settled()
    expect(broker.notes).toEqual(['a 1 running', 'b 1 running', 'c 1 running'])
  })

  it('note nothing beside one that runs alone and takes the only place', async () => {
    const hand = byHand()
    const { broker } = await stage(hand.handler, { concurrency: 1, onDeadLetter: 'park-key' }, new LetterStore())
    broker.deliver(
      delivery('a', { key: 'a', history: 'died', attempt: 2 }),
      delivery('b', { key: 'b', history: 'died', attempt: 2 }),
      delivery('c', { key: 'c', history: 'unknown' }),
    )
    await settled()
    expect(broker.notes).toEqual(['a 2 running'])
    hand.end('a')
    await settled()
    expect(broker.notes).toEqual(['a 2 running', 'b 2 running'])
  })

  it('note no more of them for a batch handler than its batch holds, and hand them over together', async () => {
    const batches: string[][] = []
    const gate = Promise.withResolvers<void>()
    const { broker } = await stage(
      (messages: readonly Message[]) => {
        batches.push(messages.map(({ id }) => id))
        return gate.promise
      },
      { batch: { size: 3, timeoutMs: 10 }, concurrency: 1 },
    )
    broker.deliver(...['a', 'b', 'c', 'd', 'e'].map((id) => delivery(id, { history: 'unknown' })))
    await settled()
    expect(batches).toEqual([['a', 'b', 'c']])
    expect(broker.notes).toEqual(['a 1 running', 'b 1 running', 'c 1 running'])
  })

  it('give their place away when the dead letters say that they are parked, or can not be read', async () => {
    const hand = byHand()
    const store = new LetterStore()
    const options = { concurrency: 1, onDeadLetter: 'park-key' as const }
    const { broker, clock } = await stage(hand.handler, options, store)
    broker.onSettle = () => new Promise(() => {})
    store.add(() => letter('a0', { key: 'a' }))
    for (const history of ['unknown', 'died'] as const) {
      broker.deliver(delivery(`a-${history}`, { topic: 't', key: 'a', history, attempt: 2 }), delivery(`x-${history}`))
      await settled()
      expect(hand.started).toEqual([`x-${history}#1`])
      hand.end(`x-${history}`)
      hand.started.length = 0
    }
    store.onRead = () => {
      throw new Error('away')
    }
    for (const history of ['unknown', 'died'] as const) {
      broker.deliver(delivery(`b-${history}`, { key: 'b', history, attempt: 2 }), delivery(`y-${history}`))
      await settled()
      expect(hand.started).toEqual([`y-${history}#1`])
      hand.end(`y-${history}`)
      hand.started.length = 0
    }
    store.onRead = () => {}
    await clock.advance(1_000)
    await settled()
    expect(hand.started).toEqual(['b-unknown#2'])
    hand.end('b-unknown')
    await settled()
    expect(hand.started).toEqual(['b-unknown#2', 'b-died#2'])
  })

  it('run messages that may have killed a process one at a time, beside others', async () => {
    const hand = byHand()
    const { broker } = await stage(hand.handler)
    const died = ['a', 'b', 'c'].map((id) => delivery(id, { history: 'died', attempt: 2 }))
    broker.deliver(...died, delivery('new'))
    await turn()
    expect(hand.started.sort()).toEqual(['a#2', 'new#1'])
    hand.end('a')
    await turn()
    await turn()
    expect(hand.started).toContain('b#2')
    broker.lose([died[1]!])
    await turn()
    await turn()
    expect(hand.started, 'one that was lost while its handler runs still runs').not.toContain('c#2')
    hand.end('b')
    await turn()
    await turn()
    expect(hand.started).toContain('c#2')
  })

  it('settle what has ended before they note the next one that may end the process', async () => {
    const hand = byHand()
    const { broker } = await stage(hand.handler)
    const heard: string[] = []
    broker.onSettle = ({ delivery: { message } }) => void heard.push(`${message.id} settled`)
    const note = broker.noteAttempts.bind(broker)
    broker.noteAttempts = (notes) => {
      heard.push(...notes.map(({ delivery: { message } }) => `${message.id} noted`))
      return note(notes)
    }
    broker.deliver(...['a', 'b'].map((id) => delivery(id, { history: 'died', attempt: 2 })))
    await turn()
    hand.end('a')
    await settled()
    expect(heard).toEqual(['a noted', 'a settled', 'b noted'])
  })

  it('hand such a message to a batch handler alone', async () => {
    const batches: string[][] = []
    const { broker, clock } = await stage(
      (messages: readonly Message[]) => {
        batches.push(messages.map(({ id }) => id))
      },
      { batch: { size: 10, timeoutMs: 10 }, concurrency: 1 },
    )
    broker.deliver(
      delivery('a'),
      delivery('b', { key: 'k' }),
      delivery('c', { key: 'k', history: 'died', attempt: 2 }),
      delivery('d', { key: 'k' }),
      delivery('e', { history: 'died', attempt: 2 }),
    )
    await clock.advance(10)
    for (let round = 0; round < 10; round++) {
      await turn()
      await clock.advance(10)
    }
    expect(batches.flat().sort()).toEqual(['a', 'b', 'c', 'd', 'e'])
    for (const id of ['c', 'e']) expect(batches.find((batch) => batch.includes(id))).toEqual([id])
    expect(batches.flat().filter((id) => 'bcd'.includes(id))).toEqual(['b', 'c', 'd'])
  })

  it('keep no batch waiting to be filled again when its messages were with a dead process', async () => {
    const batches: string[][] = []
    const { broker, clock } = await stage(
      (messages: readonly Message[]) => {
        batches.push(messages.map(({ id }) => id))
      },
      { batch: { size: 100, timeoutMs: 1_000 } },
    )
    const ids = Array.from({ length: 20 }, (_, index) => `m${index}`)
    broker.deliver(...ids.map((id) => delivery(id, { key: 'k', history: 'unknown' })))
    await clock.advance(1_000)
    for (let round = 0; round < 100 && batches.length < 20; round++) await turn()
    expect(batches.flat()).toEqual(ids)
    broker.deliver(delivery('later'))
    await turn()
    expect(batches.flat(), 'others wait as before').toEqual(ids)
    await clock.advance(1_000)
    expect(batches.flat()).toEqual([...ids, 'later'])
  })

  it('are taken back when a running delivery is lost by a process that lives', async () => {
    const hand = byHand()
    const { broker, clock } = await stage(hand.handler)
    const lost = delivery('a', { attempt: 2 })
    broker.deliver(lost)
    await clock.advance(50)
    broker.lose([lost])
    await turn()
    expect(broker.notes).toEqual(['a 2 running', 'a 1 waiting'])
  })

  it('are not used by those whose batch is aborted because others of it were lost', async () => {
    const { broker } = await stage(
      (_messages: readonly Message[], { signal }: BatchContext) =>
        new Promise<void>((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error))),
      { batch: { size: 2, timeoutMs: 10 }, retry: { attempts: 1, mode: 'delayed' } },
    )
    const lost = delivery('a')
    broker.deliver(lost, delivery('b'))
    await turn()
    broker.lose([lost])
    await turn()
    expect(broker.settled).toEqual([{ id: 'b', outcome: { type: 'release', delayMs: 0 } }])
  })

  it('are taken back when a delivery is lost that was noted and had not started', async () => {
    const hand = byHand()
    const { broker } = await stage(hand.handler)
    const stored = Promise.withResolvers<void>()
    broker.noting = () => stored.promise
    const lost = delivery('a', { history: 'unknown', attempt: 2 })
    broker.deliver(lost)
    await turn()
    broker.lose([lost])
    stored.resolve()
    await turn()
    expect(hand.started).toEqual([])
    expect(broker.notes).toEqual(['a 2 running', 'a 1 waiting'])
  })

  it('are not noted for what is returned while it waits to run alone', async () => {
    const hand = byHand()
    const { broker, consumer } = await stage(hand.handler)
    const stored = Promise.withResolvers<void>()
    broker.noting = () => stored.promise
    broker.deliver(...['a', 'b', 'c'].map((id) => delivery(id, { history: 'died', attempt: 2 })))
    await turn()
    consumer.pause()
    stored.resolve()
    await turn()
    expect(broker.outcomes()).toEqual(['a release', 'b release', 'c release'])
    expect(broker.notes).toEqual(['a 2 running'])
  })

  it('are taken back while a message waits here for a retry that does not count', async () => {
    const hand = byHand()
    const { broker, clock } = await stage(async (message: Message, ctx: HandlerContext) => {
      await hand.handler(message, ctx)
      ctx.retry({ countAttempt: false, delayMs: 5_000 })
    })
    broker.deliver(delivery('a', { key: 'k' }))
    await clock.advance(50)
    hand.end('a')
    await turn()
    expect(broker.notes).toEqual(['a 1 running', 'a 0 waiting'])
    await clock.advance(5_050)
    expect(hand.started).toEqual(['a#1', 'a#1'])
    expect(broker.notes).toEqual(['a 1 running', 'a 0 waiting', 'a 1 running'])
  })

  it('dead-letter what was handed to a handler as often as allowed, and never settled', async () => {
    const hand = byHand()
    const { broker } = await stage(hand.handler, { retry: { attempts: 3 } })
    broker.deliver(delivery('a', { history: 'died', attempt: 4 }))
    await turn()
    expect(hand.started).toEqual([])
    const [settled] = broker.settled
    expect(settled?.outcome.type).toBe('reject')
    expect(settled?.outcome.type === 'reject' && settled.outcome.deadLetter?.headers['busbar-dlq-attempts']).toBe('3')
  })

  it('made here wait until the broker has the note of the one before, or two seconds', async () => {
    const started: number[] = []
    const { broker, clock } = await stage((_: Message, { attempt }: HandlerContext) => {
      started.push(attempt)
      throw new Error('no')
    })
    let stored = Promise.withResolvers<void>()
    broker.noting = () => stored.promise
    broker.deliver(delivery('a', { key: 'k' }))
    await clock.advance(1_000)
    expect(started, 'the note is on its way').toEqual([1])
    stored.resolve()
    await turn()
    expect(started).toEqual([1, 2])
    stored = Promise.withResolvers()
    await clock.advance(100)
    expect(started).toEqual([1, 2, 3])
    await clock.advance(1_999)
    expect(started).toEqual([1, 2, 3])
    await clock.advance(1)
    expect(started, 'a broker that stores nothing holds nothing up').toEqual([1, 2, 3, 4])
  })

  it('made here do not wait for a note that the broker has refused', async () => {
    const started: number[] = []
    const { broker, clock } = await stage((_: Message, { attempt }: HandlerContext) => {
      started.push(attempt)
      throw new Error('no')
    })
    broker.noting = () => Promise.reject(new Error('no leader'))
    broker.deliver(delivery('a', { key: 'k' }))
    await clock.advance(100)
    expect(started).toEqual([1, 2])
  })

  it('that wait for their note are given back by a pause, and lost with their delivery', async () => {
    const started: string[] = []
    const { broker, consumer, clock } = await stage(({ id }: Message) => {
      started.push(id)
      throw new Error('no')
    })
    const stored = Promise.withResolvers<void>()
    broker.noting = () => stored.promise
    const lost = delivery('lost', { key: 'l' })
    broker.deliver(delivery('back', { key: 'b' }), lost)
    await clock.advance(500)
    broker.lose([lost])
    consumer.pause()
    await turn()
    expect(broker.settled).toEqual([{ id: 'back', outcome: { type: 'release', delayMs: 0, inOrder: true } }])
    consumer.resume()
    stored.resolve()
    await clock.advance(5_000)
    expect(started).toEqual(['back', 'lost'])
  })

  it('continue from the attempt of an inline retry when the message is handed back', async () => {
    const { broker, consumer, clock } = await stage(() => {
      throw new Error('no')
    })
    const given = delivery('a', { key: 'k' })
    broker.deliver(given)
    await turn()
    expect([given.attempt, broker.notes]).toEqual([2, ['a 1 waiting']])
    await clock.advance(100)
    expect([given.attempt, broker.notes]).toEqual([3, ['a 1 waiting', 'a 2 waiting']])
    consumer.pause()
    await turn()
    expect(broker.settled).toEqual([{ id: 'a', outcome: { type: 'release', delayMs: 100, inOrder: true } }])
  })

  it('of a handler that fails while its consumer is paused is made elsewhere, before later ones of its key', async () => {
    const hand = byHand()
    const { broker, consumer } = await stage(hand.handler)
    broker.deliver(delivery('a', { key: 'k' }))
    consumer.pause()
    hand.end('a', new Error('no'))
    await turn()
    expect(broker.settled).toEqual([{ id: 'a', outcome: { type: 'nack', delayMs: 100, inOrder: true } }])
    consumer.resume()
    broker.deliver(delivery('a', { key: 'k', attempt: 2 }))
    hand.end('a', new Error('no'))
    await turn()
    expect(broker.outcomes()).toEqual(['a nack'])
  })
})

describe('a message that was handled, and whose ack was lost', () => {
  it('is acked when it comes again, without a second call', async () => {
    const hand = byHand()
    const { broker } = await stage(hand.handler)
    broker.onSettle = () => new SettlementError('the connection is gone')
    broker.deliver(delivery('a'))
    hand.end('a')
    await turn()
    broker.onSettle = () => undefined
    broker.deliver(delivery('a', { history: 'returned' }))
    await turn()
    expect(hand.started).toEqual(['a#1'])
    expect(broker.outcomes()).toEqual(['a ack'])
  })

  it('is so too when it was lost before its handler ended', async () => {
    const hand = byHand()
    const { broker } = await stage(hand.handler)
    const first = delivery('a', { key: 'k' })
    broker.deliver(first)
    broker.lose([first])
    // It comes again while the first call is still running, and waits for its end.
    broker.deliver(delivery('a', { key: 'k', history: 'returned' }))
    hand.end('a')
    await turn()
    expect(hand.started).toEqual(['a#1'])
    expect(broker.outcomes()).toEqual(['a ack'])
  })

  it('is handled when it is new: another message with the same id, or a redriven copy', async () => {
    const hand = byHand()
    const { broker } = await stage(hand.handler)
    const first = delivery('a')
    broker.deliver(first)
    broker.lose([first])
    hand.end('a')
    await turn()
    broker.deliver(delivery('a'))
    broker.deliver(delivery('a', { history: 'returned', headers: { 'busbar-redrives': '1' } }))
    await turn()
    expect(hand.started).toEqual(['a#1', 'a#1', 'a#1'])
  })

  it('is handled in every attempt after its group was set back', async () => {
    const hand = byHand()
    const { broker } = await stage(hand.handler)
    const first = delivery('a')
    broker.deliver(first)
    broker.lose([first])
    hand.end('a')
    await turn()
    // Another member has acked it. Then somebody replays it.
    broker.deliver(delivery('a'))
    await turn()
    hand.end('a', new Error('no'))
    await turn()
    broker.deliver(delivery('a', { attempt: 2 }))
    await turn()
    expect(hand.started).toEqual(['a#1', 'a#1', 'a#2'])
    expect(broker.outcomes()).toEqual(['a nack'])
  })

  it('is handled again when its group was set back while it ran, and that attempt failed', async () => {
    const hand = byHand()
    const again = byHand()
    let calls = 0
    const { broker } = await stage((message: Message, ctx: HandlerContext) =>
      (calls++ === 0 ? hand : again).handler(message, ctx),
    )
    const first = delivery('a')
    broker.deliver(first)
    broker.lose([first])
    broker.deliver(delivery('a'))
    await turn()
    hand.end('a')
    await turn()
    again.end('a', new Error('no'))
    await turn()
    broker.deliver(delivery('a', { attempt: 2 }))
    await turn()
    expect(again.started).toEqual(['a#1', 'a#2'])
  })

  it('does not stand for a later message with its id and body that has failed', async () => {
    const hand = byHand()
    const { broker } = await stage(hand.handler, { retry: { mode: 'delayed' } })
    broker.onSettle = () => new SettlementError('the connection is gone')
    broker.deliver(delivery('reindex-42', { time: 1 }))
    hand.end('reindex-42')
    await turn()
    broker.onSettle = () => undefined
    broker.deliver({ ...delivery('reindex-42', { time: 2 }), position: { id: 'second' } })
    hand.end('reindex-42', new Error('no'))
    await turn()
    broker.deliver({ ...delivery('reindex-42', { time: 2, attempt: 2 }), position: { id: 'second' } })
    await turn()
    expect(hand.started).toEqual(['reindex-42#1', 'reindex-42#1', 'reindex-42#2'])
    expect(broker.outcomes()).toEqual(['reindex-42 nack'])
  })

  it('does not stand for another message with its id', async () => {
    const hand = byHand()
    const { broker } = await stage(hand.handler)
    const first = delivery('order-17', { source: 'shop' })
    broker.deliver(first)
    broker.lose([first])
    hand.end('order-17')
    await turn()
    const body = Buffer.from('{"cancelled":true}')
    broker.deliver(delivery('order-17', { source: 'desk', body, history: 'returned' }))
    await turn()
    expect(hand.started).toEqual(['order-17#1', 'order-17#1'])
    hand.end('order-17')
    broker.deliver(delivery('order-17', { source: 'shop', history: 'returned' }))
    await turn()
    expect(hand.started).toHaveLength(2)
    expect(broker.outcomes()).toEqual(['order-17 ack', 'order-17 ack'])
  })
})

describe('a message that must not be handled before its time', () => {
  it('waits, and its key with it', async () => {
    const hand = byHand()
    const { broker, clock } = await stage(hand.handler)
    broker.deliver(
      delivery('a', { key: 'k', attempt: 2, notBefore: clock.now() + 5_000 }),
      delivery('b', { key: 'k' }),
      delivery('c', { key: 'other' }),
    )
    await turn()
    expect(hand.started).toEqual(['c#1'])
    await clock.advance(4_999)
    expect(hand.started).toEqual(['c#1'])
    await clock.advance(1)
    expect(hand.started).toEqual(['c#1', 'a#2'])
  })

  it('goes back with what is left of the time', async () => {
    const { broker, clock, consumer } = await stage(() => {})
    broker.deliver(delivery('a', { key: 'k', notBefore: clock.now() + 5_000 }))
    await clock.advance(2_000)
    consumer.pause()
    await turn()
    expect(broker.settled).toEqual([{ id: 'a', outcome: { type: 'release', delayMs: 3_000, inOrder: true } }])
  })
})

describe('data', () => {
  it('is what was published in each attempt, whatever the one before did to it', async () => {
    const seen: unknown[] = []
    const { broker, clock } = await stage((message: Message) => {
      const data = message.data as { id: string; changed?: boolean }
      seen.push({ ...data })
      data.changed = true
      throw new Error('no')
    })
    broker.deliver(delivery('a', { key: 'k' }))
    await clock.advance(100)
    expect(seen).toEqual([{ id: 'a' }, { id: 'a' }])
  })
})

describe('a request that the handler swallows', () => {
  it.each([
    ['reject', (ctx: HandlerContext) => ctx.reject('no'), 'a reject'],
    ['retry', (ctx: HandlerContext) => ctx.retry({ delayMs: 7 }), 'a nack'],
  ])('is carried out, with a warning: %s', async (what, ask, outcome) => {
    const { broker, bus } = await stage(
      (_message: Message, ctx: HandlerContext) => {
        try {
          ask(ctx)
        } catch {
          // The most common handler there is logs, and goes on.
        }
      },
      { retry: { mode: 'delayed' } },
    )
    const warnings: string[] = []
    bus.events.on('warning', ({ code, detail }) => warnings.push(`${code} ${detail.includes(`ctx.${what}()`)}`))
    broker.deliver(delivery('a'))
    await turn()
    expect(broker.outcomes()).toEqual([outcome])
    expect(warnings).toEqual(['swallowed-outcome true'])
  })
})

describe('ctx.publishMany', () => {
  it('rejects when an item fails, so that the message is not acked', async () => {
    const { broker, bus } = await stage(
      async (_message: Message, ctx: HandlerContext) => {
        await ctx.publishMany('orders.paid', [{ data: 1 }, { data: 1n }])
      },
      { retry: { mode: 'delayed' } },
    )
    const errors: unknown[] = []
    bus.events.on('retry', ({ error }) => errors.push(error))
    broker.deliver(delivery('a'))
    await turn()
    expect(broker.outcomes()).toEqual(['a nack'])
    expect(errors).toEqual([expect.objectContaining({ code: 'BUSBAR_PUBLISH', outcome: 'not-sent' })])
    expect(String(errors[0])).toContain('1 of 2 messages for "orders.paid"')
  })

  it('resolves with all results when it is asked to', async () => {
    const results: unknown[] = []
    const { broker } = await stage(async (_message: Message, ctx: HandlerContext) => {
      results.push(...(await ctx.publishMany('orders.paid', [{ data: 1 }, { data: 1n }], { allowFailures: true })))
    })
    broker.deliver(delivery('a'))
    await turn()
    expect(broker.outcomes()).toEqual(['a ack'])
    expect(results).toEqual([
      expect.objectContaining({ position: undefined }),
      expect.objectContaining({ error: expect.objectContaining({ code: 'BUSBAR_CODEC' }) as unknown }),
    ])
  })
})
