import { describe, expect, it } from 'vitest'
import { createBus, defineEvent } from 'busbar'
import { memory } from 'busbar/memory'
import { fromRow, shardOf, toRow } from '../../../src/outbox/row.ts'
import { seededRandom } from '../../../src/testing/random.ts'
import { randomMessage } from '../random-message.ts'

describe('the row of a message', () => {
  it('gives the same message back, whatever it is', () => {
    for (let round = 0; round < 500; round++) {
      const message = {
        ...randomMessage(seededRandom(round)),
        deliverAt: undefined,
        group: undefined,
        copyOf: undefined,
      }
      const { headers, ...row } = toRow(message, 'main')
      // A database returns JSON as text or as an object.
      for (const stored of [headers, JSON.parse(headers) as unknown]) {
        const read = fromRow({ ...row, headers: stored, position: 1, attempts: 0 })
        expect({ ...read, headers: { ...read.headers } }).toEqual({ ...message, headers: { ...message.headers } })
      }
    }
  })

  it('has the shard of its key, which never changes, and any shard without a key', () => {
    expect(['', 'ord-1', 'ord-2', 'käse', 'k'.repeat(1_000)].map(shardOf)).toEqual([5, 50, 31, 61, 29])
    const spread = new Set(Array.from({ length: 1_000 }, () => shardOf(undefined)))
    expect(spread.size).toBeGreaterThan(50)
  })

  it('keeps a delay', async () => {
    const bus = createBus({ service: 'shop', transport: memory() })
    const at = new Date(Date.now() + 60_000)
    const message = await bus.encode(defineEvent('orders'), 1, { deliverAt: at })
    expect(toRow(message, undefined).availableAt).toBe(at.getTime())
    await bus.close()
  })
})
