import { DatabaseSync } from 'node:sqlite'
import { expect, test, vi } from 'vitest'
import { Database, Statement } from '../../src/transports/sqlite/worker/database.ts'
import { Groups } from '../../src/transports/sqlite/worker/groups.ts'
import { Losses } from '../../src/transports/sqlite/worker/losses.ts'
import { waitUntil } from '../../src/testing/wait-until.ts'
import { toColumns } from '../../src/transports/sqlite/mapping.ts'
import { OUTCOME } from '../../src/transports/sqlite/protocol.ts'
import type { Question } from '../../src/transports/sqlite/thread.ts'
import { credit, publish, settle, subscribe, TestEngine, turns } from './sqlite-engine-harness.ts'
import { defer, many, newFile, outgoing, query } from './sqlite-harness.ts'

test('rests when something becomes due after its last consumer has left, and hands it to the next one', async () => {
  const engine = new TestEngine(newFile())
  await engine.ask(subscribe(1))
  engine.push(credit(1, 10))
  await engine.ask(publish(outgoing('a', { id: 'later', deliverAt: engine.now + 50 })))
  await engine.ask({ kind: 'unsubscribe', sub: 1 })
  engine.now += 100
  const transactions = vi.spyOn(Database.prototype, 'transaction')
  defer(() => transactions.mockRestore())
  // One round, as the timer would have brought it.
  engine.push(credit(1, 1))
  await turns(100)
  expect(transactions.mock.calls.length).toBeLessThan(5)

  await engine.ask(subscribe(2))
  engine.push(credit(2, 10))
  await waitUntil(() => engine.delivered(2).length > 0)
  expect(engine.delivered(2)).toEqual(['later'])
})

test('forgets a topic that it saw in a transaction that was rolled back', async () => {
  const path = newFile()
  const engine = new TestEngine(path, { native: { pragmas: { max_page_count: 100 } } })
  await engine.ask(subscribe(1, { topic: '>', group: 'before' }))
  // The last one fails the transaction of all three, and each is done again by itself.
  const answers = await engine.ask(
    publish(outgoing('a', { id: 'of-a' })),
    subscribe(2, { topic: '*', group: 'beside' }),
    publish(outgoing('a', { body: new Uint8Array(1_000_000) })),
  )
  expect(answers.map(({ kind }) => kind)).toEqual(['published', 'done', 'failed'])
  expect(query(path, 'SELECT id FROM messages WHERE topic_id NOT IN (SELECT id FROM topics)')).toEqual([])
  await engine.ask(publish(outgoing('b', { id: 'of-b' })))
  for (const sub of [1, 2]) {
    engine.push(credit(sub, 10))
    await waitUntil(() => engine.delivered(sub).length === 2, { describe: () => engine.delivered(sub).join() })
    expect(engine.delivered(sub)).toEqual(['of-a', 'of-b'])
  }
  const read = { method: 'read', topic: 'b', after: 0, limit: 10 } as const
  const [answer] = await engine.ask({ kind: 'admin', request: read })
  expect(answer).toMatchObject({ value: { columns: { ids: ['of-b'] } } })
})

test('hands out a key again when its group is moved before a failed outcome could be given back', async () => {
  const path = newFile()
  const engine = new TestEngine(path)
  await engine.ask(
    subscribe(1),
    publish(outgoing('a', { id: 'first', key: 'k' }), outgoing('a', { id: 'next', key: 'k' })),
  )
  engine.push(credit(1, 1))
  await waitUntil(() => engine.delivered(1).length === 1)
  const db = new DatabaseSync(path)
  defer(() => db.close())
  db.exec('BEGIN IMMEDIATE')
  const [settled] = await engine.ask(settle(1, [1], OUTCOME.ack))
  expect(settled).toMatchObject({ failures: [{ error: { sqlite: 5 } }] })
  db.exec('COMMIT')
  await engine.ask({ kind: 'admin', request: { method: 'seek', topic: 'a', group: 'g', to: 'earliest' } })
  engine.push(credit(1, 10))
  await waitUntil(() => engine.delivered(1).length === 3, { describe: () => engine.delivered(1).join() })
  expect(engine.delivered(1)).toEqual(['first', 'first', 'next'])
})

test('refuses to seat a subscription twice', async () => {
  const engine = new TestEngine(newFile())
  const first = await engine.ask(subscribe(1))
  const second = await engine.ask(subscribe(1))
  expect([...first, ...second]).toMatchObject([
    { kind: 'done' },
    { kind: 'failed', error: { message: expect.stringContaining('has subscribed before') } },
  ])
})

test('looks again at what other processes gave back when the first look fails', async () => {
  const path = newFile()
  const [holder, waiting] = [new TestEngine(path), new TestEngine(path)]
  await holder.ask(subscribe(1), publish(outgoing('a', { id: 'returned' })))
  holder.push(credit(1, 1))
  await waitUntil(() => holder.delivered(1).length === 1)
  await waiting.ask(subscribe(1))
  waiting.push(credit(1, 1))
  // It has seen the file as it is now, and waits.
  await waiting.ask({ kind: 'admin', request: { method: 'topics' } })
  const get = vi.spyOn(Groups.prototype, 'get')
  defer(() => get.mockRestore())
  holder.onReply = ({ kind }) => {
    if (kind !== 'settled') return
    get.mockImplementationOnce(() => {
      throw new Error('the disk does not answer')
    })
  }
  await holder.ask(settle(1, [1], OUTCOME.release))
  await waitUntil(() => waiting.delivered(1).length > 0)
  expect(waiting.replies).toContainEqual({
    kind: 'trouble',
    doing: 'looking for changes',
    error: expect.objectContaining({ message: 'the disk does not answer' }),
  })
  expect(waiting.delivered(1)).toEqual(['returned'])
})

test('reads a new topic of another process after the first attempt to join it failed', async () => {
  const path = newFile()
  const [publisher, reader] = [new TestEngine(path), new TestEngine(path)]
  await reader.ask(subscribe(1, { topic: '>' }))
  reader.push(credit(1, 1))
  const find = vi.spyOn(Groups.prototype, 'find')
  defer(() => find.mockRestore())
  publisher.onReply = () =>
    find.mockImplementationOnce(() => {
      throw new Error('the disk does not answer')
    })
  await publisher.ask(publish(outgoing('new', { id: 'first' })))
  await waitUntil(() => reader.delivered(1).length > 0)
  expect(find.mock.results.filter(({ type }) => type === 'throw')).toHaveLength(1)
  expect(reader.delivered(1)).toEqual(['first'])
})

test('reports a loss after the first attempt to do so failed', async () => {
  const path = newFile()
  const engine = new TestEngine(path)
  await engine.ask(subscribe(1))
  const report = vi.spyOn(Losses.prototype, 'report')
  defer(() => report.mockRestore())
  report.mockImplementationOnce(() => {
    throw new Error('the disk does not answer')
  })
  // As another process that deletes old messages writes it down.
  query(path, "INSERT INTO losses VALUES (1, 'g', 'a', 'old', 3, 7) RETURNING id")
  query(path, 'UPDATE sequence SET changes = changes + 1 RETURNING changes')
  const losses = () => engine.replies.filter(({ kind }) => kind === 'loss')
  await waitUntil(() => losses().length > 0)
  expect(losses()).toEqual([{ kind: 'loss', topic: 'a', group: 'g', count: 3, seq: 7, reason: 'old' }])
})

test('leaves nothing behind of a broadcast subscription that ends in the round in which it got credit', async () => {
  const path = newFile()
  const engine = new TestEngine(path)
  await engine.ask(subscribe(1, { ephemeral: true }), publish(...many(3, 'a')))
  engine.push(credit(1, 1))
  await waitUntil(() => engine.delivered(1).length === 1)
  engine.push(credit(1, 1))
  await engine.ask({ kind: 'unsubscribe', sub: 1 })
  expect(query(path, 'SELECT id FROM owners')).toEqual([])
  expect(query(path, 'SELECT id FROM groups')).toEqual([])
})

test('looks only at the topics of a pattern in which another process published', async () => {
  const path = newFile()
  const [publisher, reader] = [new TestEngine(path), new TestEngine(path)]
  const topics = Array.from({ length: 2_000 }, (_, index) => outgoing(`t.${index}`))
  await publisher.ask(publish(...topics))
  await reader.ask(subscribe(1, { topic: 't.*', from: 'latest' }))
  reader.push(credit(1, 1_000))
  await turns(20)
  const spies = (['run', 'row', 'rows', 'iterate'] as const).map((method) => vi.spyOn(Statement.prototype, method))
  defer(() => spies.forEach((spy) => spy.mockRestore()))
  for (let sent = 1; sent <= 20; sent++) {
    await publisher.ask(publish(outgoing(`t.${sent}`)))
    await waitUntil(() => reader.delivered(1).length === sent, { intervalMs: 1 })
    await reader.ask(settle(1, [sent], OUTCOME.ack))
  }
  expect(spies.reduce((sum, spy) => sum + spy.mock.calls.length, 0)).toBeLessThan(20 * 100)
})

test('messages that are stored with acks count against the size of a transaction', async () => {
  const engine = new TestEngine(newFile())
  await engine.ask(subscribe(1), publish(...many(2, 'a')))
  engine.push(credit(1, 2))
  await waitUntil(() => engine.delivered(1).length === 2)
  const ackWith = (token: number, count: number): Question => ({
    ...(settle(1, [token], OUTCOME.ack) as Extract<Question, { kind: 'settle' }>),
    messages: toColumns(many(count, 'b')).columns,
    messageCounts: Uint32Array.of(count),
  })
  const transactions = vi.spyOn(Database.prototype, 'transaction')
  defer(() => transactions.mockRestore())
  await engine.ask(ackWith(1, 10_000), ackWith(2, 1))
  expect(transactions).toHaveBeenCalledTimes(2)
})

test('says so when a newer Busbar has changed the file while it was open', async () => {
  const path = newFile()
  const engine = new TestEngine(path)
  await engine.ask(publish(outgoing('a')))
  using newer = new DatabaseSync(path)
  newer.exec('DROP INDEX messages_once; CREATE UNIQUE INDEX messages_once ON messages (id); PRAGMA user_version = 4')
  const [answer] = await engine.ask(publish(outgoing('a')))
  expect(answer).toMatchObject({ kind: 'failed', error: { reason: 'newer-schema' } })
})
