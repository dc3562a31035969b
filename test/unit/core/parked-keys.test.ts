import { describe, expect, it } from 'vitest'
import { SettlementError } from 'busbar'
import type { ConsumerControl, HandlerContext, Message } from 'busbar'
import { manualClock } from 'busbar/testing'
import { ParkedKeys } from '../../../src/core/dead-letters/parked-keys.ts'
import type { StoredMessage, TransportAdmin } from '../../../src/core/transport.ts'
import type { Position } from '../../../src/core/message.ts'
import { letter, LetterStore } from './letter-store.ts'
import { stage, turn } from './stage.ts'
import { delivery, encoded } from './stub-transport.ts'

/** Dead letters whose position is their id, as in a queue of RabbitMQ: behind one that is gone, nothing is found. */
function store(): {
  readonly ids: string[]
  readonly admin: TransportAdmin
  reads: number
} {
  const ids: string[] = []
  const read = async (
    _topic: string,
    { after, limit }: { readonly after?: Position | undefined; readonly limit: number },
  ): Promise<readonly StoredMessage[]> => {
    stored.reads++
    const place = after === undefined ? -1 : ids.indexOf(String(after['id']))
    const from = after !== undefined && place < 0 ? ids.length : place + 1
    return ids.slice(from, from + limit).map((id) => ({
      message: letter(id, { key: id.slice(0, 1) }),
      position: { id },
    }))
  }
  const admin: Partial<TransportAdmin> = { read }
  const stored = { ids, admin: admin as TransportAdmin, reads: 0 }
  return stored
}

function message(id: string): ReturnType<typeof encoded> {
  return encoded(id, { topic: 't', key: id.slice(0, 1) })
}

describe('parked keys', () => {
  it('are seen behind dead letters that were removed meanwhile', async () => {
    const stored = store()
    const parked = new ParkedKeys(stored.admin, 'test', manualClock())
    stored.ids.push('a1', 'b1')
    expect(await parked.blocker(message('c2'))).toBeUndefined()
    for (const left of [['a1'], []]) {
      stored.ids.splice(0, Infinity, ...left)
      expect(await parked.blocker(message('b2'))).toBeUndefined()
      // Another member dead-letters one of another key.
      stored.ids.push('d1')
      expect(await parked.blocker(message('d2'))).toBe('d1')
      expect(await parked.blocker(message('c2'))).toBeUndefined()
    }
  })

  it('are seen when the last dead letter was removed and others have come', async () => {
    const stored = store()
    const parked = new ParkedKeys(stored.admin, 'test', manualClock())
    stored.ids.push('a1', 'b1')
    await parked.blocker(message('c2'))
    stored.ids.splice(0, 2, 'd1', 'e1')
    expect(await parked.blocker(message('d2'))).toBe('d1')
    expect(await parked.blocker(message('e2'))).toBe('e1')
  })

  it('are found by reading what is new alone, page after page', async () => {
    const stored = store()
    const parked = new ParkedKeys(stored.admin, 'test', manualClock())
    for (let at = 0; at < 1_000; at++) stored.ids.push(`a${at}`)
    await parked.blocker(message('c2'))
    const before = stored.reads
    stored.ids.push('b1')
    expect(await parked.blocker(message('c2'))).toBeUndefined()
    expect(stored.reads - before).toBe(1)
    expect(await parked.blocker(message('b2'))).toBe('b1')
  })

  it('hold back a later message that has the id of the dead letter, but not that one itself', async () => {
    const store = new LetterStore()
    store.add(() => letter('customer-7', { key: 'k', time: 1 }))
    const parked = new ParkedKeys(store.admin, 'test', manualClock())
    const of = (time: number): ReturnType<typeof encoded> => encoded('customer-7', { topic: 't', key: 'k', time })
    expect(await parked.blocker(of(1))).toBeUndefined()
    expect(await parked.blocker(of(2))).toBe('customer-7')
  })

  it('know of each dead letter when several have one id', async () => {
    const store = new LetterStore()
    store.add(() => letter('customer-7', { key: 'k', time: 1, redrives: 1 }))
    store.add(() => letter('customer-7', { key: 'k', time: 2 }))
    const parked = new ParkedKeys(store.admin, 'test', manualClock())
    const redriven = encoded('b', { topic: 't', key: 'k', headers: { 'busbar-redrives': '1' } })
    expect(await parked.blocker(redriven)).toBe('customer-7')
  })

  it('are looked for again when a dead letter may have been stored although the broker did not take its source', async () => {
    const store = new LetterStore()
    const started: string[] = []
    const handler = (message: Message, ctx: HandlerContext): void => {
      started.push(message.id)
      if (message.id === 'a1') ctx.reject('no')
    }
    const { broker, consumer, clock } = await stage(handler, { onDeadLetter: 'park-key' }, store)
    const control = consumer as unknown as ConsumerControl
    broker.onSettle = ({ delivery: { message } }) => {
      if (message.id !== 'a1') return undefined
      store.add(() => letter('a1', { key: 'a' }))
      return new SettlementError('the lease is gone')
    }
    // The look at the dead letters begins after both have arrived, so it speaks for both.
    control.limit('test', 0)
    broker.deliver(...['a1', 'a2'].map((id) => delivery(id, { topic: 't', key: 'a' })))
    await clock.advance(1)
    control.limit('test', undefined)
    for (let round = 0; round < 5; round++) await turn()
    expect(started).toEqual(['a1'])
    expect(broker.outcomes()).toEqual(['a2 reject'])
  })

  it('are seen after a look that failed half-way', async () => {
    const stored = store()
    const parked = new ParkedKeys(stored.admin, 'test', manualClock())
    stored.ids.push('a1', 'b1')
    await parked.blocker(message('c2'))
    stored.ids.push(...Array.from({ length: 300 }, (_, at) => `d${at}`))
    stored.ids.splice(0, 2)
    const read = stored.admin.read.bind(stored.admin)
    let left = 2
    stored.admin.read = (topic, options) => {
      if (left-- === 0) throw new Error('the broker is away')
      return read(topic, options)
    }
    await expect(parked.blocker(message('d2'))).rejects.toThrow('away')
    expect(await parked.blocker(message('d-new'))).toMatch(/^d/)
  })
})
