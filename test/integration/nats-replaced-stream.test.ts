import assert from 'node:assert/strict'
import { afterAll, beforeAll, describe, test } from 'vitest'
import { tcpProxy, waitUntil } from 'busbar/testing'
import { startPrivate } from '../../tools/brokers/index.ts'
import type { NatsBroker } from '../../tools/brokers/index.ts'
import { makeBus, onEnd, plainClient, record, streamName } from './nats-harness.ts'

let server: NatsBroker
beforeAll(async () => {
  server = await startPrivate('nats')
})
afterAll(() => server.stop())

/** Deletes a stream, makes another one with the same settings and stores messages there, as an operator might. */
async function replace(name: string, subjects: readonly string[]): Promise<void> {
  const { client, api } = await plainClient(server)
  const { config } = (await api(`STREAM.INFO.${name}`)) as { config: object }
  await api(`STREAM.DELETE.${name}`)
  const { error } = await api(`STREAM.CREATE.${name}`, { ...config, description: 'another one' })
  assert.equal(error, undefined)
  for (const [index, subject] of subjects.entries()) {
    const answer = await client.request(subject, JSON.stringify(index), { timeout: 5_000 })
    assert.equal(answer.json<{ error?: unknown }>().error, undefined)
  }
}

describe('a stream that is deleted and made again by another program', () => {
  test('under a running consumer: nothing of the new one is skipped', async () => {
    const name = streamName()
    const proxy = await tcpProxy(server)
    onEnd(() => proxy.close())
    const bus = makeBus({ url: `nats://${proxy.host}:${proxy.port}`, stream: { name }, partitions: 2 })
    const warnings = record(bus, 'warning')
    const handled: unknown[] = []
    bus.consume('t', ({ data }) => void handled.push(data))
    await bus.start()
    await bus.publishMany(
      't',
      Array.from({ length: 40 }, (_, at) => ({ data: `old ${at}`, key: `k${at}` })),
    )
    await waitUntil(() => handled.length === 40)
    // So that it can't be the one that makes the stream again.
    proxy.stall()
    await replace(name, [`${name}.0.t`, `${name}.1.t`, `${name}.0.t`, `${name}.any.t`, `${name}.any.t`])
    proxy.resume()
    await waitUntil(() => handled.length === 45, { describe: () => JSON.stringify(handled.slice(40)) })
    assert.deepEqual(new Set(handled.slice(40)), new Set([0, 1, 2, 3, 4]))
    assert.ok(warnings.some(({ code }) => code === 'nats-stream-recreated'))
  })

  test('while no member runs: the group does not begin where it began in the old one', async () => {
    const name = streamName()
    const first = makeBus({ url: server.url, stream: { name }, partitions: 2 })
    await first.start()
    for (let data = 0; data < 20; data++) await first.publish('t', data)
    first.consume('t', () => {}, { group: 'g', from: 'latest' })
    await waitUntil(async () => (await first.admin().groups('t')).length === 1)
    await first.close()
    await replace(name, [`${name}.any.t`, `${name}.0.t`, `${name}.any.t`])
    const second = makeBus({ url: server.url, stream: { name } })
    const handled: unknown[] = []
    second.consume('t', ({ data }) => void handled.push(data), { group: 'g', from: 'latest' })
    await second.start()
    await waitUntil(() => handled.length === 3, { describe: () => JSON.stringify(handled) })
  })
})

describe('a stream whose description an operator edits', () => {
  test('is the same one: nothing is lost, and nothing comes again', async () => {
    const name = streamName()
    const options = { url: server.url, stream: { name }, partitions: 2 }
    const { api } = await plainClient(server)
    const handled: unknown[] = []
    const run = async (data: number): Promise<void> => {
      const bus = makeBus(options)
      const [losses, warnings] = [record(bus, 'loss'), record(bus, 'warning')]
      bus.consume('t', ({ data: each }) => void handled.push(each), { group: 'g' })
      await bus.start()
      await bus.publishMany('t', [{ data, key: 'k' }, { data }])
      await waitUntil(() => handled.length >= 2 * data)
      const { config } = (await api(`STREAM.INFO.${name}`)) as { config: object }
      const { error } = await api(`STREAM.UPDATE.${name}`, { ...config, description: `edited ${data}` })
      assert.equal(error, undefined)
      // Another reader is made, and looks at the stream.
      const readers = async (): Promise<string[]> =>
        ((await api(`CONSUMER.NAMES.${name}`))['consumers'] as string[]).filter((each) => each.includes('--r'))
      const [before = ''] = await readers()
      await api(`CONSUMER.DELETE.${name}.${before}`)
      await waitUntil(async () => (await readers()).some((each) => each !== before))
      await bus.close()
      assert.deepEqual(losses, [])
      assert.ok(warnings.every(({ code }) => code !== 'nats-stream-recreated'))
    }
    for (const data of [1, 2, 3]) await run(data)
    assert.deepEqual(
      handled.toSorted((a, b) => Number(a) - Number(b)),
      [1, 1, 2, 2, 3, 3],
    )
  })
})
