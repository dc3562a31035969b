import assert from 'node:assert/strict'
import { test } from 'vitest'
import { waitUntil } from 'busbar/testing'
import { makeBus, plainClient, startServer, streamName } from './nats-harness.ts'

test('what the server took from another program is dead-lettered and redriven, whatever maxMessageBytes is', async () => {
  const server = await startServer()
  const name = streamName()
  const bus = makeBus({ url: server.url, stream: { name }, maxMessageBytes: 100_000 })
  let works = false
  const handled: number[] = []
  bus.consume(
    't',
    ({ body }) => {
      if (!works) throw new Error('x'.repeat(10_000))
      handled.push(body?.byteLength ?? -1)
    },
    { group: 'g', retry: false },
  )
  await bus.start()
  const { client } = await plainClient(server)
  // The server takes 1 MiB. In the second dead letter there is no room for a stack.
  const sizes = [200_000, 1_046_000]
  for (const size of sizes) await client.request(`${name}.any.t`, new Uint8Array(size), { timeout: 5_000 })
  const letters = bus.deadLetters('t', 'g')
  await waitUntil(async () => (await letters.list()).length === 2, { describe: 'two dead letters' })
  works = true
  assert.deepEqual(await letters.redrive(), { matched: 2, redriven: 2, failed: [] })
  await waitUntil(() => handled.length === 2, { describe: 'both to be handled' })
  assert.deepEqual(new Set(handled), new Set(sizes))
})
