import { expect, test } from 'vitest'
import { createBus } from 'busbar'
import { sqlite } from 'busbar/sqlite'
import { waitUntil } from 'busbar/testing'
import { defer, newFile } from './sqlite-harness.ts'

test('a batch that is with its handler is one running handler, and nothing is buffered', async () => {
  const bus = createBus({ logger: false, service: 'test', transport: sqlite({ path: newFile() }) })
  defer(() => bus.close({ timeoutMs: 0 }))
  const gate = Promise.withResolvers<void>()
  let size = 0
  const consumer = bus.consume(
    'orders',
    (messages) => {
      size = messages.length
      return gate.promise
    },
    { batch: { size: 100, timeoutMs: 60_000 } },
  )
  await bus.start()
  await bus.publishMany(
    'orders',
    Array.from({ length: 100 }, (_, data) => ({ data })),
  )
  await waitUntil(() => size === 100, { describe: () => size })
  expect(consumer.stats()).toMatchObject({ running: 1, buffered: 0, unsettled: 100 })
  gate.resolve()
  await waitUntil(() => consumer.stats().acked === 100, { describe: () => consumer.stats() })
  expect(consumer.stats()).toMatchObject({ running: 0, buffered: 0, unsettled: 0 })
})
