import { DatabaseSync } from 'node:sqlite'
import { expect, test } from 'vitest'
import { waitUntil } from '../../src/testing/wait-until.ts'
import { defer, lagOf, many, newFile, open, outgoing, query, read, store } from './sqlite-harness.ts'

test('a member holds no more of a key than it may, and continues with other keys behind any backlog', async () => {
  const { transport } = await open(newFile())
  const hot = many(6_000, 'a', (index) => ({ id: `h${index}`, key: 'hot' }))
  await store(transport, hot)
  await store(
    transport,
    many(50, 'a', (index) => ({ id: `o${index}`, key: `k${index}` })),
  )
  await store(transport, [outgoing('a', { id: 'last', key: 'hot' })])
  const reader = await read(transport, 'a', 'g', { maxPerKey: 5 })
  reader.request(100)
  await reader.take(55)
  expect(reader.ids().slice(0, 5)).toEqual(hot.slice(0, 5).map(({ id }) => id))
  expect(reader.ids().filter((id) => id.startsWith('o'))).toHaveLength(50)
  expect(await transport.admin.groups('a')).toMatchObject([{ lag: 6_051, inFlight: 55, ready: 0 }])
  // The rest of the key follows in order, never more than five at a time.
  let most = 0
  let held = 5
  reader.onDelivery = ({ message }) => {
    if (message.key === 'hot') most = Math.max(most, ++held)
  }
  const order = reader.ids().filter((id) => id.startsWith('h'))
  const unsettled = reader.received.slice()
  while (order.length < 400 || unsettled.length > 0) {
    const batch = unsettled.splice(0)
    held -= batch.filter(({ message }) => message.key === 'hot').length
    const seen = reader.received.length
    await reader.ack(...batch)
    if (order.length >= 400) break
    reader.request(batch.length)
    await waitUntil(() => reader.received.length > seen)
    const fresh = reader.received.slice(seen)
    order.push(...fresh.map(({ message }) => message.id))
    unsettled.push(...fresh)
  }
  expect(order).toEqual(hot.slice(0, order.length).map(({ id }) => id))
  expect(most).toBeLessThanOrEqual(5)
}, 30_000)

test('in strict order a member holds no more of the topic than it may', async () => {
  const { transport } = await open(newFile())
  await store(
    transport,
    many(50, 'a', (index) => ({ id: `m${index}`, key: `k${index}` })),
  )
  const reader = await read(transport, 'a', 'g', { order: 'strict', maxPerKey: 3 })
  reader.request(50)
  for (let done = 0; done < 50; done++) {
    const [delivery] = (await reader.take(done + 1)).slice(done)
    expect(reader.received.length - done).toBeLessThanOrEqual(3)
    expect(delivery!.message.id).toBe(`m${done}`)
    await reader.ack(delivery!)
  }
})

test('a backlog of a hot key makes a look for other keys no slower', async () => {
  const path = newFile()
  const { transport } = await open(path, { synchronous: 'normal' })
  const backlog = 30_000
  for (let at = 0; at < backlog; at += 2_000)
    await store(
      transport,
      many(2_000, 'a', () => ({ key: 'hot' })),
    )
  const reader = await read(transport, 'a', 'g', { maxPerKey: 1 })
  reader.request(1_000)
  await waitUntil(
    () => query(path, 'SELECT count(*) AS n FROM parked').some((row) => (row as { n: number }).n === backlog - 1),
    {
      timeoutMs: 30_000,
    },
  )
  const roundTrips = async (topic: string, group: typeof reader): Promise<number> => {
    const startedAt = performance.now()
    for (let count = 0; count < 100; count++) {
      const seen = group.received.length
      await store(transport, [outgoing(topic, { key: `k${count}` })])
      await waitUntil(() => group.received.length > seen, { intervalMs: 1 })
    }
    return performance.now() - startedAt
  }
  const quiet = await read(transport, 'b', 'g')
  quiet.request(1_000)
  const without = await roundTrips('b', quiet)
  const behind = await roundTrips('a', reader)
  // A scan of the backlog for each message would take several times as long.
  expect(behind).toBeLessThan(3 * without + 500)
}, 60_000)

test('a key continues after its outcome could not be written, with all that had come behind it', async () => {
  const path = newFile()
  const { transport } = await open(path, { busyTimeoutMs: 50 })
  const reader = await read(transport, 'a', 'g', { maxPerKey: 4 })
  await store(
    transport,
    many(200, 'a', (index) => ({ id: `m${index}`, key: 'k' })),
  )
  reader.request(50)
  const [first] = await reader.take(4)
  const db = new DatabaseSync(path, { timeout: 5_000 })
  defer(() => db.close())
  db.exec('BEGIN IMMEDIATE')
  expect(await reader.ack(first!)).toHaveLength(1)
  db.exec('COMMIT')
  // Meanwhile others of the key end, and the outcomes of those are written: the one that was not keeps the key.
  await reader.ack(...reader.received.slice(1, 4))
  const done = new Set(['m1', 'm2', 'm3'])
  const handled = new Set<unknown>(reader.received.slice(0, 4))
  await waitUntil(
    async () => {
      const fresh = reader.received.filter((delivery) => !handled.has(delivery))
      for (const delivery of fresh) handled.add(delivery)
      reader.request(fresh.length)
      if (fresh.length > 0) await reader.ack(...fresh)
      for (const { message } of fresh) done.add(message.id)
      return done.size === 200
    },
    { describe: () => `${done.size} of 200 done`, intervalMs: 1, timeoutMs: 20_000 },
  )
  expect(await lagOf(transport, 'a', 'g')).toBe(0)
}, 30_000)

test('a key that stands still is shown as ready work, and is brought out again with a warning', async () => {
  const path = newFile()
  const { transport, told } = await open(path, { leaseMs: 60_000 })
  const reader = await read(transport, 'a', 'g', { maxPerKey: 1 })
  await store(
    transport,
    many(3, 'a', (index) => ({ id: `m${index}`, key: 'k' })),
  )
  reader.request(10)
  await reader.take(1)
  // No known way leads there: the one in play is taken out of the file behind our back.
  query(path, 'DELETE FROM claims RETURNING seq')
  expect(await transport.admin.groups('a')).toMatchObject([{ lag: 2, inFlight: 0, ready: 2 }])
  const { transport: other, told: toldThere } = await open(path, { leaseMs: 300 })
  const helper = await read(other, 'a', 'g')
  helper.request(10)
  await helper.take(2)
  expect(helper.ids()).toEqual(['m1', 'm2'])
  const codes = [...told, ...toldThere].flatMap(({ event }) => ('code' in event ? [event.code] : []))
  expect(codes).toContain('sqlite-key-stood-still')
})

test('a group whose consumers change from the order of keys to none, or to a strict one, is read to its end', async () => {
  for (const order of ['none', 'strict'] as const) {
    const { transport } = await open(newFile())
    await store(
      transport,
      many(60, 'a', (index) => ({ id: `m${index}`, key: `k${index % 2}` })),
    )
    const before = await read(transport, 'a', 'g', { maxPerKey: 2 })
    before.request(10)
    await before.take(4)
    await before.subscription.close()
    const after = await read(transport, 'a', 'g', { order })
    after.request(100)
    const acked = new Set<string>()
    await waitUntil(async () => {
      const fresh = after.received.filter(({ message }) => !acked.has(message.id))
      if (fresh.length > 0) await after.ack(...fresh)
      for (const { message } of fresh) acked.add(message.id)
      return acked.size === 60
    })
    expect(await lagOf(transport, 'a', 'g')).toBe(0)
  }
})
