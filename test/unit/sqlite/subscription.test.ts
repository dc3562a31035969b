import { expect, test } from 'vitest'
import { many } from '../../integration/sqlite-harness.ts'
import type { SqliteDelivery } from '../../../src/transports/sqlite/delivery.ts'
import { toColumns } from '../../../src/transports/sqlite/mapping.ts'
import { StoredWriter } from '../../../src/transports/sqlite/worker/columns.ts'
import type { Command, SubscribeSpec } from '../../../src/transports/sqlite/protocol.ts'
import { SqliteSubscription } from '../../../src/transports/sqlite/subscription.ts'
import type { DatabaseThread } from '../../../src/transports/sqlite/thread.ts'

const SPEC: SubscribeSpec = {
  topic: 'a',
  group: 'g',
  order: 'key',
  ephemeral: false,
  from: 'latest',
  maxPerKey: 1,
  consumerId: 'c',
}

test('gives a new thread its credit once, although more is requested while it is being seated', () => {
  const sent: Command[] = []
  const thread = { send: (command: Command) => sent.push(command) } as unknown as DatabaseThread
  const host = { path: 'bus.db', maxMessageBytes: 1_000, thread, ended: () => {} }
  const subscription = new SqliteSubscription(1, SPEC, { receive: () => {}, lost: () => {}, recall: () => {} }, host)
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

test('sends an ack with more messages than a call may have arguments', async () => {
  const asked: { messages?: { ids: readonly string[] } }[] = []
  const ask = (question: { messages?: { ids: readonly string[] } }): Promise<unknown> => {
    asked.push(question)
    return Promise.resolve({ failures: [] })
  }
  const thread = { send: () => {}, ask } as unknown as DatabaseThread
  const host = { path: 'bus.db', maxMessageBytes: 1_000, thread, ended: () => {} }
  const deliveries: SqliteDelivery[] = []
  const sink = { receive: (some: SqliteDelivery[]) => deliveries.push(...some), lost: () => {}, recall: () => {} }
  const subscription = new SqliteSubscription(1, SPEC, sink, host)
  subscription.seatedOn(thread)
  const writer = new StoredWriter('a')
  writer.add(1, 'm', null, 0, toColumns(many(1, 'a')).columns.metas[0] as string, new Uint8Array(1), 1, 1, 0, 0)
  subscription.deliver(1, writer.finish())
  const publish = many(200_000, 'b')
  expect(
    await subscription.settle([{ delivery: deliveries[0] as SqliteDelivery, outcome: { type: 'ack', publish } }]),
  ).toEqual([])
  expect(asked.map(({ messages }) => messages?.ids.length)).toEqual([200_000])
})
