import assert from 'node:assert/strict'
import { expect, test } from 'vitest'
import { waitUntil } from 'busbar/testing'
import { makeBus, plainClient, startServer } from './nats-harness.ts'
import type { Api } from './nats-harness.ts'

// What docs/reference/transports/nats.md says an operator finds on the server.

const HASH = '[0-9a-f]{10}'

async function consumersOf(api: Api, stream: string): Promise<string[]> {
  const { consumers } = (await api(`CONSUMER.NAMES.${stream}`)) as { consumers: string[] | null }
  return (consumers ?? []).toSorted()
}

async function subjectsOf(api: Api, stream: string): Promise<string[]> {
  const { state } = (await api(`STREAM.INFO.${stream}`, { subjects_filter: '>' })) as {
    state: { subjects?: Record<string, number> }
  }
  return Object.keys(state.subjects ?? {}).toSorted()
}

/** Names without what differs from run to run. */
function shapes(names: readonly string[]): string[] {
  return names.map((name) => name.replace(new RegExp(`--${HASH}`), '--#').replace(/--r[0-9a-f]{12}$/, '--r'))
}

test('the objects of ten keyed consumers of one process are those of the docs, in number and name', async () => {
  const server = await startServer()
  const bus = makeBus({ url: server.url })
  for (let topic = 0; topic < 10; topic++) bus.consume(`t${topic}`, () => {}, { group: 'g' })
  await bus.start()
  const { api } = await plainClient(server)
  const { streams } = (await api('STREAM.NAMES')) as { streams: string[] }
  assert.deepEqual(streams.toSorted(), ['busbar', 'busbar_dlq', 'busbar_leases', 'busbar_state'])
  const names = await consumersOf(api, 'busbar')
  assert.deepEqual(shapes(names).toSorted(), [...Array(10).fill('g--#--any'), ...Array(10).fill('g--#--r')])
  const records = await subjectsOf(api, 'busbar_state')
  const leases = await subjectsOf(api, 'busbar_leases')
  assert.equal(records.length + leases.length, 92)
  const groups = records.filter((subject) => new RegExp(`^busbar-state\\.group\\.g--${HASH}$`).test(subject))
  const partitions = records.filter((subject) => new RegExp(`^busbar-state\\.at\\.g--${HASH}\\.[0-7]$`).test(subject))
  assert.deepEqual([groups.length, partitions.length], [10, 80])
  expect(records).toContain('busbar-state.partitions')
  expect(leases).toEqual([expect.stringMatching(/^busbar-lease\.session\.[0-9a-f-]+$/)])
})

test('what each order costs is what the docs say', async () => {
  const server = await startServer()
  const [bus, other] = [makeBus({ url: server.url, maxDeliver: 50 }), makeBus({ url: server.url, maxDeliver: 50 })]
  for (const each of [bus, other]) {
    each.consume('keyed', () => {}, { group: 'keyed' })
    each.consume('below.>', () => {}, { group: 'below' })
    each.consume('strict', () => {}, { group: 'strict', order: 'strict' })
    each.consume('none', () => {}, { group: 'none', order: 'none' })
  }
  await bus.start()
  await other.start()
  const { api } = await plainClient(server)
  await waitUntil(
    async () => shapes(await consumersOf(api, 'busbar')).filter((name) => name === 'keyed--#--r').length === 2,
  )
  assert.deepEqual(
    [...new Set(shapes(await consumersOf(api, 'busbar')))],
    [
      'below--#--any',
      'below--#--any-base',
      'below--#--r',
      'keyed--#--any',
      'keyed--#--r',
      'none--#--none',
      'strict--#--r',
    ],
  )
  const counts = new Map<string, number>()
  for (const subject of await subjectsOf(api, 'busbar_state')) {
    const [, kind = '', group = ''] = /^busbar-state\.(at|group)\.(\w+)--/.exec(subject) ?? []
    if (kind !== '') counts.set(group, (counts.get(group) ?? 0) + 1)
  }
  assert.deepEqual(Object.fromEntries(counts), { keyed: 9, below: 9, strict: 2, none: 1 })
  assert.deepEqual(await consumersOf(api, 'busbar_advisories'), ['busbar'])
  const { consumers } = (await api('CONSUMER.LIST.busbar')) as {
    consumers: { config: { metadata?: Record<string, string>; durable_name?: string; mem_storage?: boolean } }[]
  }
  for (const { config } of consumers) {
    expect(config.metadata).toMatchObject({ 'busbar.topic': expect.any(String), 'busbar.group': expect.any(String) })
    assert.equal(config.mem_storage ?? false, config.durable_name === undefined, 'readers are in memory')
  }
})
