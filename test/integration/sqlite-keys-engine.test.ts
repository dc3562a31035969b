import { expect, test, vi } from 'vitest'
import { Database } from '../../src/transports/sqlite/worker/database.ts'
import { OUTCOME } from '../../src/transports/sqlite/protocol.ts'
import { waitUntil } from '../../src/testing/wait-until.ts'
import { credit, publish, settle, subscribe, TestEngine, turns } from './sqlite-engine-harness.ts'
import { defer, many, newFile, query } from './sqlite-harness.ts'

/** Messages `m0`, `m1`, … of one key. */
const ofOneKey = (count: number) => publish(...many(count, 'a', (index) => ({ id: `m${index}`, key: 'k' })))
const ids = (count: number) => Array.from({ length: count }, (_, index) => `m${index}`)

async function takes(engine: TestEngine, sub: number, expected: readonly string[]): Promise<void> {
  await waitUntil(() => engine.delivered(sub).length >= expected.length, {
    intervalMs: 1,
    describe: () => engine.delivered(sub).join(),
  })
  // Nothing more comes of it.
  await turns(20)
  expect(engine.delivered(sub)).toEqual(expected)
}

test('what is parked behind a settled message is handed out in the transaction that settles it', async () => {
  const engine = new TestEngine(newFile())
  await engine.ask(subscribe(1, { maxPerKey: 2 }), ofOneKey(100))
  engine.push(credit(1, 10))
  await takes(engine, 1, ids(2))
  const transactions = vi.spyOn(Database.prototype, 'transaction')
  defer(() => transactions.mockRestore())
  for (let done = 0; done < 98; done += 2) {
    engine.push(credit(1, 2))
    await engine.ask(settle(1, [done + 1, done + 2], OUTCOME.ack))
    expect(engine.delivered(1)).toEqual(ids(done + 4))
  }
  expect(transactions.mock.calls.length).toBeLessThan(49 + 5)
})

test('a key whose member wants nothing more continues at another member', async () => {
  const path = newFile()
  const [one, two] = [new TestEngine(path), new TestEngine(path)]
  await one.ask(subscribe(1, { maxPerKey: 2 }), ofOneKey(5))
  await two.ask(subscribe(1, { maxPerKey: 2 }))
  // With more credit than it uses for now, it reads on and parks what is behind the key.
  one.push(credit(1, 3))
  await takes(one, 1, ids(2))
  two.push(credit(1, 5))
  one.push({ kind: 'flow', sub: 1, paused: true })
  await one.ask(settle(1, [1], OUTCOME.ack))
  await takes(two, 1, [])
  await one.ask(settle(1, [2], OUTCOME.ack))
  await takes(two, 1, ['m2', 'm3'])
  await two.ask(settle(1, [1, 2], OUTCOME.ack))
  await takes(two, 1, ['m2', 'm3', 'm4'])
})

test('what is parked behind a retry waits for it, though an earlier one is parked as well', async () => {
  const path = newFile()
  const engine = new TestEngine(path)
  await engine.ask(subscribe(1, { maxPerKey: 5 }), ofOneKey(7))
  engine.push(credit(1, 10))
  await takes(engine, 1, ids(5))
  await engine.ask(settle(1, [4], OUTCOME.nack, 60_000), { kind: 'unsubscribe', sub: 1 })
  await engine.ask(subscribe(2, { maxPerKey: 2 }))
  engine.push(credit(2, 10))
  await takes(engine, 2, ids(2))
  expect(query(path, 'SELECT seq FROM parked ORDER BY seq')).toEqual([3, 5, 6, 7].map((seq) => ({ seq })))
  await engine.ask(settle(2, [1, 2], OUTCOME.ack))
  await takes(engine, 2, ids(3))
  engine.now += 60_000
  await engine.ask(settle(2, [3], OUTCOME.ack))
  await takes(engine, 2, ids(5))
  await engine.ask(settle(2, [4, 5], OUTCOME.ack))
  await takes(engine, 2, ids(7))
})

test('what became ready in the transaction of an ack comes before what is parked behind it', async () => {
  const path = newFile()
  const engine = new TestEngine(path)
  const delayed = { deliverAt: engine.now + 50 }
  const batch = many(20, 'a', (index) => ({ id: `m${index}`, key: 'k', ...(index === 0 ? delayed : {}) }))
  await engine.ask(subscribe(1, { maxPerKey: 2 }), publish(...batch))
  engine.push(credit(1, 100))
  await takes(engine, 1, ['m1', 'm2'])
  // The delayed one is due, and parked: there is no room for it.
  engine.now += 100
  engine.push(credit(1, 1))
  await waitUntil(() => query(path, 'SELECT seq FROM parked WHERE seq = 1').length === 1)
  await engine.ask(settle(1, [1], OUTCOME.ack), settle(1, [2], OUTCOME.release))
  await takes(engine, 1, ['m1', 'm2', 'm0', 'm2'])
})

test('a key continues when all of its messages were settled in several rounds without credit', async () => {
  const engine = new TestEngine(newFile())
  await engine.ask(subscribe(1, { maxPerKey: 3 }), ofOneKey(8))
  engine.push(credit(1, 4))
  await takes(engine, 1, ids(3))
  engine.push({ kind: 'flow', sub: 1, paused: true })
  for (const token of [1, 2, 3]) await engine.ask(settle(1, [token], OUTCOME.ack))
  engine.push({ kind: 'flow', sub: 1, paused: false }, credit(1, 2))
  await takes(engine, 1, ids(6))
})

test('what waits behind a message that was deleted while it was with a handler comes before newer ones', async () => {
  const engine = new TestEngine(newFile())
  await engine.ask(subscribe(1, { maxPerKey: 1 }), ofOneKey(3))
  engine.push(credit(1, 2))
  await takes(engine, 1, ['m0'])
  engine.push({ kind: 'flow', sub: 1, paused: true })
  await engine.ask({ kind: 'admin', request: { method: 'remove', topic: 'a', seqs: [1] } })
  await engine.ask(settle(1, [1], OUTCOME.release))
  await engine.ask(publish(...many(1, 'a', () => ({ id: 'm3', key: 'k' }))))
  engine.push({ kind: 'flow', sub: 1, paused: false }, credit(1, 1))
  await takes(engine, 1, ['m0', 'm1'])
  await engine.ask(settle(1, [2], OUTCOME.ack))
  await takes(engine, 1, ['m0', 'm1', 'm2'])
})

test.each([
  ['strict', 'key'],
  ['key', 'strict'],
] as const)(
  'after a change of the order from %s to %s, messages wait for an earlier retry of their key',
  async (from, to) => {
    const path = newFile()
    const engine = new TestEngine(path)
    await engine.ask(subscribe(1, { order: from, maxPerKey: 3 }), ofOneKey(5))
    engine.push(credit(1, 3))
    await takes(engine, 1, ids(3))
    // The two behind the retry are parked.
    await engine.ask(settle(1, [1], OUTCOME.nack, 60_000), settle(1, [2, 3], OUTCOME.release))
    engine.push(credit(1, 10))
    await waitUntil(() => query(path, 'SELECT seq FROM parked WHERE seq IN (2, 3)').length === 2)
    await engine.ask({ kind: 'unsubscribe', sub: 1 }, subscribe(2, { order: to }))
    engine.push(credit(2, 10))
    await takes(engine, 2, [])
    engine.now += 60_000
    engine.push(credit(2, 10))
    await waitUntil(async () => {
      const count = engine.delivered(2).length
      await engine.ask(
        settle(
          2,
          Array.from({ length: count }, (_, index) => index + 1),
          OUTCOME.ack,
        ),
      )
      return count === 5
    })
    expect(engine.delivered(2)).toEqual(ids(5))
  },
)
