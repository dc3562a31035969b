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
