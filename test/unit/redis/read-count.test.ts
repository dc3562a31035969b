import { describe, expect, it } from 'vitest'
import { ReadCount } from '../../../src/transports/redis/consume/read-count.ts'
import type { Gap, ReadState } from '../../../src/transports/redis/consume/read-count.ts'

function begun(at: Partial<ReadState> = {}) {
  const gaps: Gap[] = []
  const reads = new ReadCount((gap) => gaps.push(gap))
  const start = { last: '1-0', added: 10, passed: 10, read: undefined, server: 's' }
  const tell = (state: Partial<ReadState>, resets = reads.resets): boolean =>
    reads.heard({ ...start, ...state }, resets)
  reads.begin({ ...start, read: 10, ...at })
  return { reads, gaps, tell }
}

describe('counting what is read of a stream', () => {
  it('reports what the server has passed and was not read here, once', () => {
    const { reads, gaps, tell } = begun()
    reads.add(5, '2-0', '2-0')
    tell({ last: '2-0', added: 115, passed: 115, read: 115 })
    expect(gaps).toEqual([{ count: 100, since: '1-0' }])
    tell({ last: '2-0', added: 115, passed: 115, read: 115 })
    expect(gaps).toHaveLength(1)
  })

  it('takes what the server has handed out, and is still on its way here, for read', () => {
    const { reads, gaps, tell } = begun()
    tell({ last: '2-0', added: 15, passed: 15 })
    reads.add(5, '2-0', '2-0')
    reads.readEnded()
    expect(gaps).toEqual([])
  })

  it('ignores an answer that a later read has overtaken', () => {
    const { reads, gaps, tell } = begun()
    reads.add(5, '1-1', '2-0')
    reads.add(8, '2-1', '3-0')
    tell({ last: '2-0', added: 15, passed: 15 })
    reads.add(7, '3-1', '4-0')
    reads.readEnded()
    tell({ last: '4-0', added: 30, passed: 30 })
    expect(gaps).toEqual([])
  })

  it('does not count an entry that was read after the server was asked', () => {
    const { reads, gaps, tell } = begun()
    reads.add(2, '2-0', '2-0')
    // The group was moved over three entries, and then one more was read.
    tell({ last: '3-0', added: 15, passed: 15 })
    reads.add(1, '4-0', '4-0')
    reads.readEnded()
    expect(gaps).toEqual([{ count: 3, since: '1-0' }])
    tell({ last: '4-0', added: 16, passed: 16 })
    expect(gaps).toHaveLength(1)
  })

  it('keeps its count while the server does not know', () => {
    const { reads, gaps, tell } = begun()
    for (const last of ['2-0', '3-0', '4-0']) {
      reads.add(5, last, last)
      tell({ last, added: 100, passed: undefined })
    }
    reads.add(60, '5-0', '5-0')
    tell({ last: '5-0', added: 100, passed: 100 })
    expect(gaps).toEqual([{ count: 15, since: '1-0' }])
  })

  it('begins again where something may have been read elsewhere', () => {
    const { reads, gaps, tell } = begun()
    const { resets } = reads
    reads.reset()
    tell({ last: '2-0', added: 20, passed: 20 }, resets)
    reads.readEnded()
    reads.add(3, '3-0', '3-0')
    tell({ last: '3-0', added: 33, passed: 33 })
    expect(gaps).toEqual([])
    tell({ last: '3-0', added: 40, passed: 40 })
    expect(gaps).toEqual([{ count: 7, since: '3-0' }])
  })

  it('begins again with another process of the server', () => {
    const { reads, gaps, tell } = begun()
    tell({ added: 30, passed: 30, server: 'other' })
    reads.add(20, '2-0', '2-0')
    tell({ last: '2-0', added: 50, passed: 50, server: 'other' })
    expect(gaps).toEqual([])
  })

  it('reports without a count that more was read than there is, by whichever number that shows', () => {
    const { reads, gaps, tell } = begun()
    reads.add(20, '2-0', '2-0')
    tell({ last: '2-0', added: 25, passed: 25 })
    reads.add(10, '3-0', '3-0')
    tell({ last: '3-0', added: 35, passed: 35 })
    expect(gaps).toEqual([{ count: undefined, since: '1-0' }])
  })

  it('starts with the count of the server, which is that of former readers', () => {
    expect(begun({ passed: 10, read: 4 }).gaps).toEqual([{ count: 6, since: '1-0' }])
    expect(begun({ passed: 10, read: undefined }).gaps).toEqual([])
  })

  it('asks whether the stream was replaced when older entries come again', () => {
    const { reads, gaps, tell } = begun()
    reads.add(5, '1-1', '2-0')
    reads.add(3, '1-5', '3-0')
    expect(gaps).toEqual([{ count: undefined, since: '1-0', unless: '2-0' }])
    tell({ last: '3-0', added: 99, passed: 99 })
    expect(gaps).toHaveLength(1)
  })

  it('compares nothing where it can not be known which server that is', () => {
    const { reads, gaps, tell } = begun({ server: '', read: undefined })
    reads.add(5, '2-0', '2-0')
    tell({ last: '2-0', added: 115, passed: 115, server: '' })
    tell({ last: '2-0', added: 15, passed: 15, server: '' })
    expect(gaps).toEqual([])
  })

  it('reports without a count that the stream was replaced by an older state', () => {
    const { reads, gaps, tell } = begun()
    reads.add(5, '2-0', '2-0')
    tell({ last: '2-0', added: 15, passed: 15 })
    tell({ last: '1-5', added: 12, passed: 12 })
    reads.readEnded()
    expect(gaps).toEqual([{ count: undefined, since: '1-0' }])
  })
})
