import { describe, expect, it } from 'vitest'
import { RelayWindow } from '../../../src/outbox/relay-window.ts'
import type { OutboxRow } from '../../../src/outbox/row.ts'

const row = (position: number, key?: string): OutboxRow => ({
  position,
  shard: 1,
  id: `id-${position}`,
  topic: 'orders',
  key,
  transport: undefined,
  headers: {},
  body: undefined,
  attempts: 0,
})

describe('the window of a relay', () => {
  it('forgets a row whose shard was lost while it was sent, when sending it fails', () => {
    const window = new RelayWindow({ maxRows: 4, maxPerKey: 100 })
    const rows = [row(1, 'k'), row(2), row(3), row(4, 'k')]
    window.add({ rows, isCut: false, final: 4 }, { isWhole: true, epoch: window.epoch })
    const sent = window.takeReady(() => true)
    expect(sent).toHaveLength(3)
    window.dropShards(new Set([1]))
    // They may still arrive: until then nothing of them is read again.
    expect(window.positions()).toEqual([1, 2, 3])
    const { epoch } = window
    for (const held of sent) window.sendLater(held, 5, false)
    expect(window.size).toBe(0)
    expect(window.bytes).toBe(0)
    expect(window.isBusy(1)).toBe(false)
    expect(window.takeReady(() => true)).toEqual([])
    // A read that began before has skipped them, so that the floor must not follow it.
    window.add({ rows: [], isCut: false, final: 9 }, { isWhole: true, epoch })
    expect(window.floor).toBe(0)
    // The shard is back.
    expect(window.keysToRead(0)).toEqual([{ key: 'k', shard: 1, floor: 0 }])
    window.addKey('k', { rows: [row(4, 'k')], isCut: false, final: 9 })
    expect(window.takeReady(() => true).map(({ row: { position } }) => position)).toEqual([4])
  })
})
