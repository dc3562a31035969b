import { expect, test } from 'vitest'
import { waitUntil } from '../../src/testing/wait-until.ts'
import type { SqliteRetentionOptions } from '../../src/transports/sqlite/options.ts'
import { lagOf, many, newFile, open, outgoing, query, read, store } from './sqlite-harness.ts'
import type { Opened } from './sqlite-harness.ts'

const SOON: SqliteRetentionOptions = { checkIntervalMs: 20 }

async function ids({ transport }: Opened, topic: string): Promise<string[]> {
  return (await transport.admin.read(topic, { limit: 10_000 })).map(({ message }) => message.id)
}

/** Makes everything stored so far look older. */
function age(path: string, ms: number): void {
  query(path, `UPDATE messages SET published_at = published_at - ${ms} RETURNING seq`)
}

test('what all groups have acked goes by age; what one of them has not, stays, and so do dead letters', async () => {
  const path = newFile()
  const quiet = await open(path, { retention: false })
  const stored = many(6, 'a', (index) => ({ id: `a${index}`, key: 'k' }))
  await store(quiet.transport, stored)
  await store(quiet.transport, [outgoing('a.g.dlq', { id: 'dead' }), outgoing('nobody', { id: 'unread' })])
  const one = await read(quiet.transport, 'a', 'one')
  const two = await read(quiet.transport, 'a', 'two')
  one.request(6)
  two.request(4)
  await one.ack(...(await one.take(6)))
  // The second group is through with 0, 1 and 3; 2 waits for its retry, 4 and 5 are unread.
  const four = await two.take(4)
  await two.ack(four[0]!, four[1]!, four[3]!)
  await two.settle([four[2]!], { type: 'nack', delayMs: 60_000 })
  age(path, 10_000)
  await store(quiet.transport, [outgoing('a', { id: 'young' })])

  const opened = await open(path, { retention: { ...SOON, maxAgeMs: 5_000 } })
  await waitUntil(async () => (await ids(opened, 'nobody')).length === 0)
  expect(await ids(opened, 'a')).toEqual(['a2', 'a4', 'a5', 'young'])
  expect(await ids(opened, 'a.g.dlq')).toEqual(['dead'])
  expect(await lagOf(opened.transport, 'a', 'two')).toBe(4)
  // No group has lost anything; of a topic that no group reads, that is said as well.
  expect(opened.told.flatMap(({ name, event }) => (name === 'loss' ? [event] : []))).toMatchObject([
    { topic: 'nobody', group: undefined, count: 1 },
  ])
  const [info] = await opened.transport.admin.topics()
  expect(info).toMatchObject({ topic: 'a', messages: 4 })
  expect(
    query(path, `SELECT sum(size) AS bytes FROM messages m JOIN topics t ON t.id = topic_id AND name = 'a'`),
  ).toEqual([{ bytes: info!.bytes }])
})

test('dead letters go by age where that is asked for', async () => {
  const path = newFile()
  const quiet = await open(path, { retention: false })
  await store(quiet.transport, many(3, 'a.g.dlq'))
  age(path, 10_000)
  await store(quiet.transport, [outgoing('a.g.dlq', { id: 'young' })])
  const opened = await open(path, { retention: { ...SOON, deadLetterMaxAgeMs: 5_000 } })
  await waitUntil(async () => (await ids(opened, 'a.g.dlq')).length === 1)
  expect(await ids(opened, 'a.g.dlq')).toEqual(['young'])
})

test('the oldest goes when all is too large, over all topics, thousands as well as few', async () => {
  const path = newFile()
  const quiet = await open(path, { retention: false })
  const old = many(3_000, 'a', () => ({ body: new Uint8Array(100) }))
  const young = many(50, 'b', () => ({ body: new Uint8Array(1_000) }))
  await store(quiet.transport, old)
  await store(quiet.transport, young)
  const opened = await open(path, { retention: { ...SOON, maxBytes: 100_000 } })
  await waitUntil(async () => {
    const topics = await opened.transport.admin.topics()
    return topics.reduce((sum, { bytes }) => sum + (bytes ?? 0), 0) <= 100_000
  })
  expect(await ids(opened, 'b')).toEqual(young.map(({ id }) => id))
  const rest = await ids(opened, 'a')
  expect(rest.length).toBeGreaterThan(0)
  expect(rest).toEqual(old.slice(-rest.length).map(({ id }) => id))
})

test('what is unacked or not yet due is kept over the limit, and that is reported once', async () => {
  const path = newFile()
  const opened = await open(path, { retention: { ...SOON, maxBytes: 1_000 } })
  const reader = await read(opened.transport, 'a', 'g')
  await store(opened.transport, many(100, 'a'))
  await store(opened.transport, [
    outgoing('b', { id: 'later', deliverAt: Date.now() + 60_000, body: Buffer.alloc(2_000) }),
  ])
  const held = (): unknown[] => opened.told.filter(({ name }) => name === 'warning')
  await waitUntil(() => held().length > 0)
  expect(held()).toMatchObject([{ event: { code: 'sqlite-retention-held' } }])
  expect(await ids(opened, 'a')).toHaveLength(100)
  reader.request(100)
  await reader.ack(...(await reader.take(100)))
  await waitUntil(async () => (await ids(opened, 'a')).length === 0)
  expect(await ids(opened, 'b')).toEqual(['later'])
  expect(held()).toHaveLength(1)
})

test('with keepUnacked false the limit is kept at the cost of messages: each loss is reported, what is in flight is spared', async () => {
  const path = newFile()
  const opened = await open(path, { retention: { ...SOON, maxBytes: 1_000, keepUnacked: false } })
  const reader = await read(opened.transport, 'a', 'g')
  await read(opened.transport, 'a', 'idle')
  reader.request(2)
  await store(
    opened.transport,
    many(100, 'a', (index) => ({ id: `a${index}` })),
  )
  const out = await reader.take(2)
  const losses = (): { group: string; count: number }[] =>
    opened.told.flatMap(({ name, event }) => (name === 'loss' ? [event as never] : []))
  const lost = (group: string): number =>
    losses()
      .filter((loss) => loss.group === group)
      .reduce((sum, { count }) => sum + count, 0)
  await waitUntil(async () => (await ids(opened, 'a')).length < 15)
  const kept = await ids(opened, 'a')
  expect(kept.slice(0, 2)).toEqual(['a0', 'a1'])
  await waitUntil(() => lost('g') === 100 - kept.length)
  await waitUntil(() => lost('idle') === 100 - kept.length)
  expect(losses()[0]).toMatchObject({ topic: 'a', position: { seq: 3 } })
  expect(await reader.ack(...out)).toEqual([])
  reader.request(100)
  await reader.take(kept.length)
  expect(reader.ids()).toEqual(kept)
  expect(await lagOf(opened.transport, 'a', 'g')).toBe(kept.length - 2)
})

test('what another process deletes is reported to the members of the group that lost it, once, also to those that come later', async () => {
  const path = newFile()
  const cleaner = await open(path, { retention: { ...SOON, maxAgeMs: 5_000, keepUnacked: false } })
  const [one, two] = [await open(path, { retention: false }), await open(path, { retention: false })]
  await read(one.transport, 'a', 'g')
  await read(two.transport, 'a', 'g')
  const away = await read(one.transport, 'a', 'away')
  await away.subscription.close()
  await store(one.transport, many(10, 'a'))
  age(path, 10_000)
  await waitUntil(async () => (await ids(one, 'a')).length === 0)
  const losses = (opened: Opened): { group: string; count: number }[] =>
    opened.told.flatMap(({ name, event }) => (name === 'loss' ? [event as never] : []))
  await waitUntil(() => [...losses(one), ...losses(two)].length > 0)
  expect([...losses(one), ...losses(two)]).toMatchObject([{ topic: 'a', group: 'g', count: 10 }])
  expect(losses(cleaner)).toEqual([])
  const later = await open(path, { retention: false })
  await read(later.transport, 'a', 'away')
  await waitUntil(() => losses(later).length === 1)
  expect(losses(later)).toMatchObject([{ group: 'away', count: 10 }])
  expect(query(path, 'SELECT * FROM losses')).toEqual([])
})

test('dead letters that go by age are reported to the group that failed', async () => {
  const path = newFile()
  const opened = await open(path, { retention: { ...SOON, deadLetterMaxAgeMs: 5_000 } })
  await read(opened.transport, 'a', 'g')
  await store(opened.transport, many(3, 'a.g.dlq'))
  age(path, 10_000)
  const losses = (): unknown[] => opened.told.flatMap(({ name, event }) => (name === 'loss' ? [event] : []))
  await waitUntil(() => losses().length > 0)
  expect(losses()).toMatchObject([{ topic: 'a.g.dlq', group: 'g', count: 3 }])
})

test('processes that delete by different rules are warned, those that agree are not', async () => {
  const path = newFile()
  const one = await open(path, { leaseMs: 300 })
  const same = await open(path, { leaseMs: 300, retention: { checkIntervalMs: 10_000 } })
  const other = await open(path, { leaseMs: 300, retention: { keepUnacked: false } })
  const warnings = ({ told }: Opened): string[] =>
    told.flatMap(({ event }) => ('code' in event && event.code === 'sqlite-retention-differs' ? [event.detail] : []))
  await waitUntil(() => [one, same, other].every((opened) => warnings(opened).length > 0))
  expect(warnings(one)).toHaveLength(1)
  expect(warnings(one)[0]).toMatch(/here .*keepUnacked: true .*there .*keepUnacked: false/)
  await other.transport.close()
  const late = await open(path, { leaseMs: 300 })
  await waitUntil(() =>
    query(path, 'SELECT count(*) AS n FROM processes').some((row) => (row as { n: number }).n === 3),
  )
  expect(warnings(late)).toEqual([])
})
