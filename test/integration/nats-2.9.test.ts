import assert from 'node:assert/strict'
import { test } from 'vitest'
import { uniqueName, waitUntil } from 'busbar/testing'
import { startPrivate } from '../../tools/brokers/index.ts'
import { skipIfMissing } from './broker-helpers.ts'
import { makeBus, onEnd, plainClient, streamName } from './nats-harness.ts'

// 2.9 answers nothing, not even "no responders", to a direct read of a stream that does not exist.

test('starts on an empty server at once, and makes the state stream again when it is deleted', async (context) => {
  const server = await skipIfMissing(context, startPrivate('nats', { version: 'debian' }))
  onEnd(() => server.stop())
  const { api } = await plainClient(server)
  const name = streamName()
  const topic = uniqueName('orders')
  const bus = makeBus({ url: server.url, stream: { name } })
  const seen: unknown[] = []
  let failures = 2
  bus.consume(
    topic,
    ({ data }) => {
      if (failures-- > 0) throw new Error('not yet')
      seen.push(data)
    },
    { retry: { attempts: 5, baseMs: 1, maxMs: 1 } },
  )
  const startedAt = performance.now()
  await bus.start()
  assert.ok(performance.now() - startedAt < 5_000)

  const { streams } = (await api('STREAM.NAMES')) as { streams: string[] }
  const state = streams.find((stream) => stream.includes('state'))
  assert.ok(state !== undefined, `no state stream among ${streams.join(', ')}`)
  await api(`STREAM.DELETE.${state}`)
  await bus.publish(topic, 1, { key: 'k' })
  await waitUntil(() => seen.length === 1, { timeoutMs: 5_000 })
})

// It does not say either when all that a request asked for has been sent.
test('partitions are read on at once behind much that is settled, by their next owner', async (context) => {
  const server = await skipIfMissing(context, startPrivate('nats', { version: 'debian' }))
  onEnd(() => server.stop())
  // What is done three times per lease would be too late.
  const options = { url: server.url, stream: { name: streamName() }, partitions: 1, leaseMs: 60_000 }
  const stuck = Promise.withResolvers<void>()
  const first = makeBus(options)
  let handled = 0
  const isOpen = ({ data }: { readonly data: unknown }): Promise<void> | undefined =>
    data === 'stuck' ? stuck.promise : void handled++
  first.consume('t', isOpen, { group: 'g' })
  await first.start()
  await first.publish('t', 'stuck', { key: 'k' })
  await first.publishMany(
    't',
    Array.from({ length: 2_000 }, (_, data) => ({ data, key: `k${data % 50}` })),
  )
  await waitUntil(() => handled === 2_000)
  await first.close({ timeoutMs: 100 })
  const second = makeBus(options)
  const seen: unknown[] = []
  second.consume('t', ({ data }) => void seen.push(data), { group: 'g', prefetch: 32 })
  await second.start()
  await second.publish('t', 'new', { key: 'n' })
  await waitUntil(() => seen.includes('new'), { describe: () => JSON.stringify(seen) })
  assert.deepEqual(seen, ['stuck', 'new'])
  stuck.resolve()
})
