import assert from 'node:assert/strict'
import { afterAll, beforeAll, describe, test } from 'vitest'
import { waitUntil } from 'busbar/testing'
import { startPrivate } from '../../tools/brokers/index.ts'
import type { NatsBroker } from '../../tools/brokers/index.ts'
import { makeBus, plainClient, streamName } from './nats-harness.ts'

let server: NatsBroker
beforeAll(async () => {
  server = await startPrivate('nats')
})
afterAll(() => server.stop())

describe('partitions of groups', () => {
  test('have positions for a strict order and for patterns, and the limits of their stream', async () => {
    const name = streamName()
    const bus = makeBus({ url: server.url, stream: { name }, retention: { maxMessages: 1_000 } })
    const last = Promise.withResolvers<void>()
    bus.consume('a.b', ({ data }) => (data === 2 ? last.promise : undefined), { group: 'strict', order: 'strict' })
    bus.consume('a.>', () => {}, { group: 'pattern' })
    await bus.start()
    for (const data of [0, 1, 2]) await bus.publish('a.b', data, { key: `k${data}` })
    await bus.publish('a', 3)
    await bus.publish('b', 4)
    const at = (seq: number) => ({ stream: name, seq })
    const partitionsOf = async (group: string) =>
      (await bus.admin().groups('a.b')).find((info) => info.group === group)?.partitions ?? []
    await waitUntil(async () => (await partitionsOf('strict'))[0]?.lag === 1)
    const [strict] = await partitionsOf('strict')
    assert.equal(strict?.partition, 'all')
    assert.deepEqual([strict.start, strict.position, strict.head], [at(1), at(2), at(3)])
    const pattern = await partitionsOf('pattern')
    assert.deepEqual(
      pattern.map(({ partition }) => partition),
      ['0', '1', '2', '3', '4', '5', '6', '7', 'any'],
    )
    // Its topic without a second token is read by a consumer of its own.
    assert.deepEqual(pattern.at(-1)?.position, at(4))
    const info = (await bus.admin().topics()).find(({ topic }) => topic === 'a.b')
    assert.deepEqual(info?.retention, { maxAgeMs: 604_800_000, maxMessages: 1_000, maxBytes: undefined })

    await bus.admin().remove('a.b', [at(1), at(2)])
    const [removed] = await partitionsOf('strict')
    assert.deepEqual([removed?.start, removed?.position, removed?.head], [at(3), at(2), at(3)])
    last.resolve()
    await waitUntil(async () => (await partitionsOf('strict'))[0]?.lag === 0)
    assert.deepEqual((await partitionsOf('strict'))[0]?.position, at(3))
  })

  test('ask for the ends of a partition once, however many groups the topic has', async () => {
    const { client } = await plainClient(server)
    const bus = makeBus({ url: server.url, stream: { name: streamName() }, partitions: 4 })
    for (const group of ['a', 'b', 'c']) bus.consume('t', () => {}, { group })
    await bus.start()
    await bus.publishMany('t', [{ data: 1, key: 'k' }, { data: 2 }])
    await waitUntil(async () => (await bus.admin().groups('t')).every(({ lag }) => lag === 0))
    const asked: string[] = []
    client.subscribe('$JS.API.STREAM.MSG.GET.>', { callback: (_error, { subject }) => void asked.push(subject) })
    await client.flush()
    assert.equal((await bus.admin().groups('t')).length, 3)
    await client.flush()
    // The first and the last message of four partitions, and of those without a key.
    assert.equal(asked.length, 10)
  })
})
