import assert from 'node:assert/strict'
import { headers as makeHeaders } from '@nats-io/transport-node'
import { test } from 'vitest'
import { waitUntil } from 'busbar/testing'
import { makeBus, plainClient, startServer, streamName } from './nats-harness.ts'

test('messages of another program with one id and one source are all dead-lettered, redriven and handled', async () => {
  const server = await startServer()
  const name = streamName()
  const bus = makeBus({ url: server.url, stream: { name } })
  let works = false
  const handled: unknown[] = []
  bus.consume(
    't',
    ({ data }) => {
      if (!works) throw new Error('not yet')
      handled.push(data)
    },
    { group: 'g', retry: false },
  )
  await bus.start()
  const { client } = await plainClient(server)
  for (const body of ['1', '2']) {
    const headers = makeHeaders()
    headers.set('ce-id', 'order-1')
    headers.set('ce-source', '/shop')
    await client.request(`${name}.any.t`, body, { headers, timeout: 5_000 })
  }
  const letters = bus.deadLetters('t', 'g')
  await waitUntil(async () => (await letters.list()).length === 2, { describe: 'two dead letters' })
  works = true
  assert.deepEqual(await letters.redrive(), { matched: 2, redriven: 2, failed: [] })
  await waitUntil(() => handled.length === 2, { describe: 'both to be handled' })
  assert.deepEqual(new Set(handled), new Set([1, 2]))
})

test('a message that fails again after its dead letter was purged and its group moved back has a new dead letter', async () => {
  const server = await startServer()
  const bus = makeBus({ url: server.url })
  let failures = 0
  bus.consume(
    't',
    () => {
      failures++
      throw new Error('never')
    },
    { group: 'g', retry: false },
  )
  await bus.start()
  await bus.publish('t', 1)
  const letters = bus.deadLetters('t', 'g')
  await waitUntil(async () => (await letters.list()).length === 1, { describe: 'the dead letter' })
  assert.equal(await letters.purge(), 1)
  await bus.admin().seek('t', 'g', 'earliest')
  await waitUntil(() => failures === 2, { describe: 'the second failure' })
  await waitUntil(async () => (await letters.list()).length === 1, { describe: 'the second dead letter' })
})
