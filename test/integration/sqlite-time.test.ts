import { DatabaseSync } from 'node:sqlite'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { describe, expect, test } from 'vitest'
import { waitUntil } from '../../src/testing/wait-until.ts'
import { defer, many, newFile, open, outgoing, query, read, store } from './sqlite-harness.ts'

describe('a clock that was set back', () => {
  test('does not make a retry wait for the time that the clock has to make good', async () => {
    const path = newFile()
    const { transport } = await open(path, { leaseMs: 300 })
    await store(transport, [outgoing('a')])
    const reader = await read(transport, 'a', 'g')
    reader.request(5)
    const [delivery] = await reader.take(1)
    await reader.settle([delivery!], { type: 'nack', delayMs: 100 })
    // As it would look had the clock been an hour ahead when the delivery failed.
    query(path, 'UPDATE claims SET since = since + 3600000, not_before = not_before + 3600000 RETURNING seq')
    expect((await reader.take(2))[1]!.attempt).toBe(2)
  })

  test('does not make times fall along the log, so that replay by time still finds its place', async () => {
    const path = newFile()
    const { transport } = await open(path)
    await store(transport, [outgoing('a')])
    const ahead = Date.now() + 3_600_000
    query(path, `UPDATE sequence SET last_at = ${ahead} RETURNING last_at`)
    await store(transport, [outgoing('a', { id: 'second' })])
    expect(query(path, 'SELECT published_at FROM messages WHERE seq = 2')).toEqual([{ published_at: ahead }])
    const reader = await read(transport, 'a', 'g', { from: { timeMs: ahead } })
    reader.request(5)
    await reader.take(1)
    expect(reader.ids()).toEqual(['second'])
  })
})

describe('leases', () => {
  test('of a thread that has ended end in time, and what it had handed out has used no attempt', async () => {
    const path = newFile()
    const dead = await open(path, { leaseMs: 300 })
    await store(dead.transport, many(3, 'a'))
    const lost = await read(dead.transport, 'a', 'g')
    lost.request(2)
    await lost.take(2)
    // Without a word to anybody, as a SIGKILL does it.
    await dead.transport.thread!.terminate()
    const { transport } = await open(path, { leaseMs: 30_000 })
    const reader = await read(transport, 'a', 'g')
    reader.request(5)
    await reader.take(3)
    // Without keys, what was never handed out may come before what comes back.
    expect(reader.received.map(({ attempt, history }) => `${attempt} ${history}`).sort()).toEqual([
      '1 new',
      '1 unknown',
      '1 unknown',
    ])
    expect((await transport.admin.groups('a'))[0]!.members).toBe(1)
  })

  test('from before the machine was restarted end as well', async () => {
    const path = newFile()
    const dead = await open(path, { leaseMs: 300 })
    await store(dead.transport, [outgoing('a')])
    const lost = await read(dead.transport, 'a', 'g')
    lost.request(1)
    await lost.take(1)
    await dead.transport.thread!.terminate()
    query(path, 'UPDATE owners SET lease_until = lease_until + 1000000000 RETURNING id')
    const { transport } = await open(path, { leaseMs: 300 })
    const reader = await read(transport, 'a', 'g')
    reader.request(1)
    expect((await reader.take(1))[0]).toMatchObject({ attempt: 1, history: 'unknown' })
  })

  test('hold for as long as the process answers, however long a handler takes', async () => {
    const path = newFile()
    const one = await open(path, { leaseMs: 200 })
    const two = await open(path, { leaseMs: 200 })
    await store(one.transport, [outgoing('a')])
    const slow = await read(one.transport, 'a', 'g')
    slow.request(1)
    const [delivery] = await slow.take(1)
    const other = await read(two.transport, 'a', 'g')
    other.request(1)
    const [before] = query(path, 'SELECT max(lease_until) AS at FROM owners') as { at: number }[]
    await waitUntil(
      () => (query(path, 'SELECT max(lease_until) AS at FROM owners') as { at: number }[])[0]!.at > before!.at + 600,
    )
    expect(other.received).toEqual([])
    expect(await slow.ack(delivery!)).toEqual([])
  })

  test('end while the thread of the handlers is blocked for longer, because it may hang forever', async () => {
    const path = newFile()
    const one = await open(path, { leaseMs: 200 })
    const two = await open(path, { leaseMs: 200 })
    await store(one.transport, [outgoing('a')])
    const first = await read(one.transport, 'a', 'g')
    first.request(1)
    await first.take(1)
    const second = await read(two.transport, 'a', 'g')
    second.request(1)
    const until = performance.now() + 1_000
    while (performance.now() < until);
    await waitUntil(() => first.lost.length === 1)
    expect((await second.take(1))[0]).toMatchObject({ attempt: 1, history: 'unknown' })
    expect(await second.ack(...second.received)).toEqual([])
  })

  test('keep the attempts that were made without giving the message back', async () => {
    const path = newFile()
    const dead = await open(path, { leaseMs: 200 })
    await store(dead.transport, [outgoing('a')])
    const first = await read(dead.transport, 'a', 'g')
    first.request(1)
    const [delivery] = await first.take(1)
    await first.subscription.noteAttempts!([{ delivery: delivery!, used: 3, running: false, notBefore: undefined }])
    await dead.transport.thread!.terminate()
    const { transport } = await open(path, { leaseMs: 200 })
    const reader = await read(transport, 'a', 'g')
    reader.request(1)
    expect((await reader.take(1))[0]!.attempt).toBe(4)
  })

  test('of a process that did not answer are taken; it is notified, and its groups for one subscription continue', async () => {
    const path = newFile()
    const { transport, told } = await open(path, { leaseMs: 300 })
    const reader = await read(transport, 'a', 'g')
    const broadcast = await read(transport, 'a', 'mine', { ephemeral: true, from: 'latest' })
    reader.request(10)
    broadcast.request(10)
    await store(transport, [outgoing('a', { id: 'first' })])
    const [delivery] = await reader.take(1)
    await broadcast.take(1)
    // What another process does when it finds the leases ended.
    const db = new DatabaseSync(path, { timeout: 5_000 })
    defer(() => db.close())
    db.exec(`BEGIN IMMEDIATE; UPDATE claims SET state = 0, history = 2 WHERE state = 1; DELETE FROM owners;
      UPDATE sequence SET changes = changes + 1; UPDATE groups SET changed = (SELECT changes FROM sequence);
      DELETE FROM claims WHERE group_id IN (SELECT id FROM groups WHERE ephemeral = 1);
      DELETE FROM groups WHERE ephemeral = 1; COMMIT`)
    await waitUntil(() => reader.lost.length === 1 && broadcast.lost.length === 1)
    expect(delivery!.lost).toBe(true)
    expect(await reader.ack(delivery!)).toHaveLength(1)
    expect((await reader.take(2))[1]).toMatchObject({ attempt: 1, history: 'unknown' })
    // What was published for it meanwhile is not kept, and nobody can say how much that was.
    expect(told.flatMap(({ name, event }) => (name === 'loss' ? [event] : []))).toMatchObject([
      { topic: 'a', group: 'mine', count: undefined },
    ])
    await store(transport, [outgoing('a', { id: 'second' })])
    await broadcast.take(2)
    await reader.take(3)
    expect([reader.ids(), broadcast.ids()]).toEqual([
      ['first', 'first', 'second'],
      ['first', 'second'],
    ])
    expect(await transport.admin.groups('a')).toMatchObject([{ members: 1 }, { members: 1 }])
  })
})

describe('the event loop', () => {
  test('continues while the file is locked by another process', async () => {
    const path = newFile()
    const { transport } = await open(path)
    const db = new DatabaseSync(path, { timeout: 5_000 })
    defer(() => db.close())
    db.exec('BEGIN IMMEDIATE')
    const publishing = store(transport, many(1_000, 'a'))
    let turns = 0
    const startedAt = performance.now()
    while (performance.now() - startedAt < 300) {
      await new Promise((resolve) => setTimeout(resolve, 1))
      turns++
    }
    db.exec('COMMIT')
    expect(await publishing).toHaveLength(1_000)
    expect(turns).toBeGreaterThan(50)
  })

  test('is not held up while a hundred thousand messages are published and consumed', async () => {
    const { transport } = await open(newFile())
    const batches = Array.from({ length: 100 }, () => many(1_000, 'a', () => ({ body: Buffer.alloc(100) })))
    const delay = monitorEventLoopDelay({ resolution: 1 })
    delay.enable()
    for (const batch of batches) await store(transport, batch)
    const reader = await read(transport, 'a', 'g')
    let acked = 0
    reader.request(2_000)
    while (acked < 100_000) {
      await waitUntil(() => reader.received.length > 0, { intervalMs: 1 })
      const deliveries = reader.received.splice(0)
      expect(await reader.ack(...deliveries)).toEqual([])
      acked += deliveries.length
      reader.request(deliveries.length)
    }
    delay.disable()
    // A synchronous database would hold it for most of the time. The bound has room for a busy machine.
    expect(delay.percentile(99) / 1e6).toBeLessThan(20)
  }, 60_000)
})
