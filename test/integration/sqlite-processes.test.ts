import { expect, test } from 'vitest'
import { childConsumer, childPublisher } from '../../src/testing/child-process.ts'
import type { Child } from '../../src/testing/child-process.ts'
import { seededRandom } from '../../src/testing/random.ts'
import { waitUntil } from '../../src/testing/wait-until.ts'
import { defer, lagOf, many, newFile, open, query, store } from './sqlite-harness.ts'

const module = new URL('../conformance/sqlite-child.ts', import.meta.url)
const random = seededRandom(process.env['BUSBAR_TEST_SEED'] ?? 'processes')

async function consumer(path: string, options: Parameters<typeof childConsumer>[0]['options']): Promise<Child> {
  const child = await childConsumer({
    module,
    topic: 'a',
    options,
    // Slow enough for all of them to get their share.
    handler: { workMs: 5 },
    env: { BUSBAR_TEST_SQLITE: path },
  })
  defer(async () => child[Symbol.asyncDispose]())
  return child
}

test('a publisher killed at any instant: the file is sound, and what was confirmed is in it, once', async () => {
  const path = newFile()
  const { transport } = await open(path)
  for (let kill = 0; kill < 4; kill++) {
    const child = await childPublisher({
      module,
      topic: 'a',
      count: 1_000_000,
      keys: 5,
      env: { BUSBAR_TEST_SQLITE: path },
    })
    defer(async () => child[Symbol.asyncDispose]())
    await child.waitFor('confirmed', 100)
    await child.killAtRandom(random, 30)
    const stored = await transport.admin.read('a', { limit: 1_000_000 })
    const ids = stored.map(({ message }) => message.id).filter((id) => id.startsWith(child.service))
    expect(new Set(ids).size).toBe(ids.length)
    const there = new Set(ids)
    expect(child.ids('confirmed').filter((id) => !there.has(id))).toEqual([])
    const sent = new Set(child.ids('sent'))
    expect(ids.filter((id) => !sent.has(id))).toEqual([])
  }
  expect(query(path, 'PRAGMA integrity_check')).toEqual([{ integrity_check: 'ok' }])
  // Counters and rows are written together or not at all.
  expect(query(path, 'SELECT messages, bytes FROM topics')).toEqual(
    query(path, 'SELECT count(*) AS messages, sum(size) AS bytes FROM messages'),
  )
}, 60_000)

test('processes that share a group handle each message once, each key in order', async () => {
  const path = newFile()
  const { transport } = await open(path)
  const options = { group: 'g', concurrency: 4, prefetch: 16 }
  const children = await Promise.all([consumer(path, options), consumer(path, options), consumer(path, options)])
  const sent = many(900, 'a', (index) => ({ id: `s${index}`, key: `k${index % 30}` }))
  for (let at = 0; at < sent.length; at += 100) await store(transport, sent.slice(at, at + 100))
  const acked = (): string[] => children.flatMap((child) => child.ids('acked'))
  await waitUntil(() => acked().length >= sent.length, { timeoutMs: 30_000, describe: () => `${acked().length} acked` })
  await waitUntil(async () => (await lagOf(transport, 'a', 'g')) === 0)
  expect(acked().toSorted()).toEqual(sent.map(({ id }) => id).toSorted())
  for (const child of children) {
    const order = child.ids('start').map((id) => Number(id.slice(1)))
    for (let key = 0; key < 30; key++) {
      const ofKey = order.filter((index) => index % 30 === key)
      expect(ofKey).toEqual(ofKey.toSorted((a, b) => a - b))
    }
    // Whoever came last gets a share too, though the others hold all keys.
    expect(order.length).toBeGreaterThan(90)
  }
}, 60_000)
