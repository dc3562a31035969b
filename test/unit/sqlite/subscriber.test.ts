import { expect, test } from 'vitest'
import type { Command, SubscribeSpec } from '../../../src/transports/sqlite/protocol.ts'
import { SqliteSubscription } from '../../../src/transports/sqlite/subscriber.ts'
import type { DatabaseThread } from '../../../src/transports/sqlite/thread.ts'

test('gives a new thread its credit once, although more is requested while it is being seated', () => {
  const spec: SubscribeSpec = {
    topic: 'a',
    group: 'g',
    order: 'key',
    ephemeral: false,
    from: 'latest',
    maxPerKey: 1,
    consumerId: 'c',
  }
  const sent: Command[] = []
  const thread = { send: (command: Command) => sent.push(command) } as unknown as DatabaseThread
  const host = { path: 'bus.db', maxMessageBytes: 1_000, thread, ended: () => {} }
  const subscription = new SqliteSubscription(1, spec, { receive: () => {}, lost: () => {}, recall: () => {} }, host)
  subscription.seatedOn(thread)
  subscription.request(3, 300)
  subscription.takeBackAll('the database thread ended')
  sent.length = 0
  // The next thread is there already, and may have seated the subscription: its answer is under way.
  subscription.request(2, 200)
  subscription.pause()
  subscription.seatedOn(thread)
  expect(sent).toEqual([
    { kind: 'credit', sub: 1, count: 5, bytes: 500 },
    { kind: 'flow', sub: 1, paused: true },
  ])
  subscription.request(1, 100)
  expect(sent.slice(2)).toEqual([{ kind: 'credit', sub: 1, count: 1, bytes: 100 }])
})
