import { appendFileSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { childConsumer, childPublisher, seededRandom, waitUntil } from 'busbar/testing'
import type { Child } from 'busbar/testing'
import { RecordReader } from '../../../src/testing/child-protocol.ts'

const memoryModule = new URL('../../conformance/memory-child.ts', import.meta.url)
const children: Child[] = []

afterEach(async () => {
  for (const child of children.splice(0)) await child[Symbol.asyncDispose]()
})

async function publisher(options: Partial<Parameters<typeof childPublisher>[0]> = {}): Promise<Child> {
  const child = await childPublisher({ module: memoryModule, topic: 'orders', count: 50, ...options })
  children.push(child)
  return child
}

describe('a child process', () => {
  it('has every message on record, and ends by itself when it is asked to stop', { timeout: 30_000 }, async () => {
    const child = await publisher({ keys: 3, service: 'shop' })
    await child.waitFor('confirmed', 50)
    expect(child.ids('sent')).toEqual(Array.from({ length: 50 }, (_, number) => `shop-${number}`))
    expect([...child.ids('confirmed')].sort()).toEqual([...child.ids('sent')].sort())
    expect(new Set(child.records().map(({ key }) => key))).toEqual(new Set(['k0', 'k1', 'k2']))
    expect(await child.stop()).toEqual({ code: 0, signal: null })
  })

  it('keeps its records through SIGKILL at a random instant', { timeout: 30_000 }, async () => {
    const child = await publisher({ count: 1_000_000 })
    await child.waitFor('confirmed', 10)
    await child.killAtRandom(seededRandom(7), 30)
    expect(await child.exited).toEqual({ code: null, signal: 'SIGKILL' })
    const confirmed = child.ids('confirmed')
    expect(confirmed.length).toBeGreaterThanOrEqual(10)
    const sent = new Set(child.ids('sent'))
    expect(confirmed.every((id) => sent.has(id))).toBe(true)
    await child.kill()
    await expect(child.waitFor('done', 1)).rejects.toThrow(/ended \(SIGKILL\) too early/)
  })

  it('stands still while it is frozen', { timeout: 30_000 }, async () => {
    const child = await publisher({ count: 1_000_000 })
    await child.waitFor('confirmed', 10)
    child.freeze()
    // The signal is delivered before the next look at a process that only runs in between.
    const settled = await waitUntil(async () => {
      const before = child.records().length
      await new Promise((resolve) => setTimeout(resolve, 50))
      return child.records().length === before ? before : undefined
    })
    child.thaw()
    await waitUntil(() => child.records().length > settled)
  })

  it('says why when it can not start', { timeout: 30_000 }, async () => {
    const module = new URL('./fixtures/broken-module.ts', import.meta.url)
    await expect(childConsumer({ module, topic: 'orders' })).rejects.toThrow(/before it was ready[^]*no broker here/)
  })

  it('is removed with its folder when it is disposed of', { timeout: 30_000 }, async () => {
    const child = await publisher()
    await child.waitFor('confirmed', 50)
    await child[Symbol.asyncDispose]()
    expect(() => process.kill(child.pid, 0)).toThrow(/ESRCH/)
    expect(child.ids('confirmed')).toHaveLength(50)
  })
})

describe('RecordReader', () => {
  it('reads what was added, and leaves a line that was cut short', () => {
    const folder = mkdtempSync(join(tmpdir(), 'busbar-records-'))
    const path = join(folder, 'records')
    try {
      writeFileSync(path, '')
      const reader = new RecordReader(path)
      expect(reader.read()).toEqual([])
      appendFileSync(path, '{"type":"sent","id":"á","at":1}\n{"type":"se')
      expect(reader.read().map(({ id }) => id)).toEqual(['á'])
      expect(reader.read()).toEqual([])
      appendFileSync(path, 'nt","id":"b","at":2}\n')
      expect(reader.read().map(({ id }) => id)).toEqual(['b'])
      const many = Array.from({ length: 5_000 }, (_, number) => `{"type":"done","id":"ž${number}","at":3}\n`).join('')
      appendFileSync(path, many)
      expect(reader.read().map(({ id }) => id)).toEqual(Array.from({ length: 5_000 }, (_, number) => `ž${number}`))
    } finally {
      rmSync(folder, { recursive: true })
      expect(existsSync(path)).toBe(false)
    }
  })
})
