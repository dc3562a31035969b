import { DatabaseSync } from 'node:sqlite'
import { expect, test } from 'vitest'
import type { AttemptNote, Delivery } from '../../src/core/transport.ts'
import { waitUntil } from '../../src/testing/wait-until.ts'
import { many, newFile, open, outgoing, query, read, store } from './sqlite-harness.ts'
import type { Opened, Reader } from './sqlite-harness.ts'

function running(delivery: Delivery, used = delivery.attempt): AttemptNote {
  return { delivery, used, running: true, notBefore: undefined }
}

function summary(deliveries: readonly Delivery[]): unknown[] {
  return deliveries
    .map(({ message, attempt, history }) => [message.id, attempt, history])
    .toSorted(([a], [b]) => String(a).localeCompare(String(b)))
}

/** A member of another process that holds some messages of its own group. */
async function holder(path: string, count: number): Promise<{ opened: Opened; reader: Reader; out: Delivery[] }> {
  const opened = await open(path, { leaseMs: 300 })
  const reader = await read(opened.transport, 'a', 'g')
  reader.request(count)
  return { opened, reader, out: await reader.take(count) }
}

/** Without a word to anybody, as a SIGKILL does it. */
async function die({ opened }: { opened: Opened }): Promise<void> {
  await opened.transport.thread!.terminate()
}

async function successor(path: string, count: number): Promise<Reader> {
  const { transport } = await open(path, { leaseMs: 300 })
  const reader = await read(transport, 'a', 'g')
  reader.request(count)
  await reader.take(count)
  return reader
}

test('a process that dies uses up an attempt of what it ran, and of nothing that it had only prefetched', async () => {
  const path = newFile()
  const { transport } = await open(path)
  await store(
    transport,
    many(4, 'a', (index) => ({ id: `m${index}` })),
  )
  const dead = await holder(path, 4)
  await dead.reader.subscription.noteAttempts!([running(dead.out[1]!), running(dead.out[2]!)])
  // One of the two ended well enough to say so.
  await dead.reader.settle([dead.out[2]!], { type: 'nack', delayMs: 0 })
  await die(dead)
  const next = await successor(path, 4)
  expect(summary(next.received)).toEqual([
    ['m0', 1, 'unknown'],
    ['m1', 2, 'died'],
    ['m2', 2, 'returned'],
    ['m3', 1, 'unknown'],
  ])
})

test('what may have ended a process is distinguished from what it had only prefetched, through any number of deaths', async () => {
  const path = newFile()
  const { transport } = await open(path)
  await store(
    transport,
    many(2, 'a', (index) => ({ id: `m${index}` })),
  )
  for (let life = 1; life <= 4; life++) {
    const process = await holder(path, 2)
    expect(summary(process.out)).toEqual([
      ['m0', life, life === 1 ? 'new' : 'died'],
      ['m1', 1, life === 1 ? 'new' : 'unknown'],
    ])
    await process.reader.subscription.noteAttempts!([running(process.out.find(({ message }) => message.id === 'm0')!)])
    await die(process)
  }
  // Neither a hand-back nor another prefetch clears it of the suspicion; an attempt that ends does.
  const fifth = await successor(path, 2)
  await fifth.settle(fifth.received, { type: 'release', delayMs: 0 })
  fifth.request(2)
  const again = (await fifth.take(4)).slice(2)
  expect(summary(again)).toEqual([
    ['m0', 5, 'died'],
    ['m1', 1, 'unknown'],
  ])
  await fifth.settle(again, { type: 'nack', delayMs: 0 })
  fifth.request(2)
  expect(summary((await fifth.take(6)).slice(4))).toEqual([
    ['m0', 6, 'returned'],
    ['m1', 2, 'returned'],
  ])
})

test('a process that only seemed dead takes its attempt back, whatever the new owner has written meanwhile', async () => {
  const path = newFile()
  const { transport } = await open(path)
  await store(
    transport,
    many(3, 'a', (index) => ({ id: `m${index}`, key: `k${index}` })),
  )
  const asleep = await holder(path, 3)
  await asleep.reader.subscription.noteAttempts!(asleep.out.map((delivery) => running(delivery)))
  const awake = await open(path, { leaseMs: 300 })
  const reader = await read(awake.transport, 'a', 'g')
  reader.request(2)
  // Blocks the thread that answers for the first process: its lease ends, and the second one takes two of three over.
  const until = performance.now() + 900
  while (performance.now() < until);
  await waitUntil(() => asleep.reader.lost.length === 3)
  const [first, second] = await reader.take(2)
  expect([first!, second!].map(({ attempt, history }) => [attempt, history])).toEqual([
    [2, 'died'],
    [2, 'died'],
  ])
  await reader.subscription.noteAttempts!([running(first!)])
  await asleep.reader.subscription.noteAttempts!(
    asleep.out.map((delivery) => ({ delivery, used: 0, running: false, notBefore: undefined })),
  )
  await reader.settle([first!, second!], { type: 'nack', delayMs: 0 })
  reader.request(3)
  const after = (await reader.take(5)).slice(2)
  expect(after.map(({ message, attempt, history }) => [message.id, attempt, history])).toEqual([
    // Two attempts were made: the one that was lost, and is not counted, and the one that failed.
    [first!.message.id, 2, 'returned'],
    [second!.message.id, 2, 'returned'],
    ['m2', 1, 'returned'],
  ])
  // Saying it twice takes back nothing more.
  await asleep.reader.subscription.noteAttempts!(
    asleep.out.map((delivery) => ({ delivery, used: 0, running: false, notBefore: undefined })),
  )
  expect(query(path, 'SELECT sum(taken_back) AS sum FROM claims')).toEqual([{ sum: 0 }])
})

test('closing gives back what was noted as running without an attempt, and a seek does so for a redriven copy', async () => {
  const path = newFile()
  const { transport } = await open(path)
  await store(transport, [outgoing('a', { id: 'shared' }), outgoing('a', { id: 'copy', group: 'g' })])
  const closing = await holder(path, 2)
  await closing.reader.subscription.noteAttempts!(closing.out.map((delivery) => running(delivery)))
  await closing.opened.transport.close()
  const reader = await successor(path, 2)
  expect(summary(reader.received)).toEqual([
    ['copy', 1, 'returned'],
    ['shared', 1, 'returned'],
  ])
  await reader.subscription.noteAttempts!(reader.received.map((delivery) => running(delivery)))
  await transport.admin.seek('a', 'g', 'latest')
  await waitUntil(() => reader.lost.length === 2)
  reader.request(1)
  expect(summary((await reader.take(3)).slice(2))).toEqual([['copy', 1, 'returned']])
})

test('an attempt that waits here for its time waits on after the death of its process, and its key with it', async () => {
  const path = newFile()
  const { transport } = await open(path)
  await store(
    transport,
    many(2, 'a', (index) => ({ id: `m${index}`, key: 'k' })),
  )
  const dead = await holder(path, 2)
  const due = Date.now() + 1_500
  await dead.reader.subscription.noteAttempts!([{ delivery: dead.out[0]!, used: 2, running: false, notBefore: due }])
  await die(dead)
  const next = await successor(path, 1)
  expect(Date.now()).toBeGreaterThanOrEqual(due)
  expect(summary(next.received)).toEqual([['m0', 3, 'unknown']])
})

test('what is handed back with a delay before its process ends keeps the delay, its attempts, and its key in order', async () => {
  const path = newFile()
  const { transport } = await open(path)
  await store(
    transport,
    many(4, 'a', (index) => ({ id: `m${index}`, key: 'k' })),
  )
  const leaving = await holder(path, 3)
  const due = Date.now() + 1_200
  await leaving.reader.subscription.drain()
  await leaving.reader.subscription.settle(
    leaving.out.map((delivery, index) => ({
      delivery,
      outcome:
        index === 0 ? { type: 'nack', delayMs: 1_200, inOrder: true } : { type: 'release', delayMs: 0, inOrder: true },
    })),
  )
  await leaving.opened.transport.close()
  const next = await successor(path, 1)
  expect(Date.now()).toBeGreaterThanOrEqual(due)
  next.request(3)
  for (let count = 1; count <= 4; count++) await next.ack((await next.take(count)).at(-1)!)
  expect(next.received.map(({ message, attempt }) => [message.id, attempt])).toEqual([
    ['m0', 2],
    ['m1', 1],
    ['m2', 1],
    ['m3', 1],
  ])
})

test('a file of the first schema is brought up to date: what was handed out has used no attempt', async () => {
  const path = newFile()
  const { transport } = await open(path)
  await store(
    transport,
    many(3, 'a', (index) => ({ id: `m${index}`, key: 'k' })),
  )
  await transport.close()
  // As the version before has left it: two handed out to a process that died, one behind them.
  const db = new DatabaseSync(path)
  db.exec(`
    DROP TABLE parked; DROP TABLE losses; DROP TABLE processes;
    DROP INDEX claims_retry; DROP INDEX groups_changed; DROP INDEX topics_changed;
    ALTER TABLE groups DROP COLUMN changed; ALTER TABLE groups DROP COLUMN deleted_epoch;
    ALTER TABLE sequence DROP COLUMN changes;
    ALTER TABLE claims DROP COLUMN taken_back; ALTER TABLE claims DROP COLUMN running;
    ALTER TABLE claims DROP COLUMN history; ALTER TABLE claims RENAME COLUMN used TO attempt;
    CREATE INDEX claims_waiting ON claims (group_id, state, key) WHERE state >= 2;
    INSERT INTO groups (topic_id, name, cursor, passed, started) SELECT id, 'g', last_seq, appended, 1 FROM topics;
    INSERT INTO claims (group_id, seq, state, owner, attempt, first_at, key)
      SELECT g.id, m.seq, iif(m.id = 'm2', 3, 1), iif(m.id = 'm2', NULL, 77), iif(m.id = 'm2', 0, 2), 1, 'k'
      FROM messages m, groups g;
    INSERT INTO owners (id, instance, consumer, group_name, pattern, ephemeral, lease_until, lease_ms)
      VALUES (77, 'old', 'old', 'g', 'a', 0, 0, 300);
    PRAGMA user_version = 1`)
  db.close()
  const next = await successor(path, 2)
  expect(summary(next.received)).toEqual([
    ['m0', 2, 'unknown'],
    ['m1', 2, 'unknown'],
  ])
  await next.ack(...next.received)
  next.request(1)
  expect(summary((await next.take(3)).slice(2))).toEqual([['m2', 1, 'new']])
})
