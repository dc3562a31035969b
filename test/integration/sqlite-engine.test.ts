import { expect, test, vi } from 'vitest'
import { Database } from '../../src/transports/sqlite/database.ts'
import { waitUntil } from '../../src/testing/wait-until.ts'
import { credit, publish, subscribe, TestEngine, turns } from './sqlite-engine-harness.ts'
import { defer, newFile, outgoing } from './sqlite-harness.ts'

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
