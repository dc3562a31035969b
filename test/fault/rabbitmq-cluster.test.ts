import assert from 'node:assert/strict'
import { afterAll, afterEach, beforeAll, describe, test } from 'vitest'
import { createBus } from 'busbar'
import type { Bus } from 'busbar'
import { rabbitmq } from 'busbar/rabbitmq'
import { uniqueName, waitUntil } from 'busbar/testing'
import { startPrivate } from '../../tools/brokers/index.ts'
import type { RabbitMqBroker, RabbitMqNode } from '../../tools/brokers/index.ts'

const MEMBERS = 2
const KEYS = 24
/** A node that dies takes a moment to be noticed, and its queues need other leaders. */
const BACK_WITHIN_MS = 20_000

describe('RabbitMQ: a cluster of three nodes, of which one dies', () => {
  let cluster: RabbitMqBroker
  const buses: Bus[] = []

  beforeAll(async () => {
    cluster = await startPrivate('rabbitmq', { nodes: 3 })
    await complete()
  }, 240_000)
  afterEach(async () => {
    for (const bus of buses.splice(0)) await bus.close({ timeoutMs: 1_000 })
  })
  afterAll(() => cluster.stop())

  /** A node that starts does not answer every question. */
  const complete = (): Promise<true> =>
    waitUntil(
      async () => {
        const all = await Promise.all(cluster.nodes.map((node) => node.sees(3).catch(() => false)))
        return all.every(Boolean) || undefined
      },
      { timeoutMs: 60_000, describe: 'three nodes that see each other' },
    )
  function bus(nodes: readonly RabbitMqNode[]): Bus {
    const transport = rabbitmq({
      url: nodes.map(({ url }) => url),
      heartbeatMs: 2_000,
      reconnect: { minMs: 100, maxMs: 1_000 },
    })
    const made = createBus({ service: 'cluster', transport, publish: { deliveryTimeoutMs: 5_000 } })
    buses.push(made)
    return made
  }

  test(
    'every key goes on without the dead node, whichever it is; each message is handled',
    { timeout: 240_000 },
    async () => {
      const topic = uniqueName('cluster')
      const handled = new Map<number, string[]>()
      const troubles: string[] = []
      // All connect to the same node first, as deployments do.
      const members = Array.from({ length: MEMBERS }, () => bus(cluster.nodes))
      for (const [index, member] of members.entries()) {
        member.events.on('error', ({ error, doing }) => troubles.push(`${index} ${doing}: ${String(error)}`))
        member.consume(topic, ({ data, key }) => {
          const number = data as number
          handled.set(number, [...(handled.get(number) ?? []), key ?? ''])
        })
        await member.start()
      }
      const publisher = bus(cluster.nodes)
      await publisher.start()
      let next = 0
      const round = async (what: string): Promise<void> => {
        const numbers = Array.from({ length: KEYS }, () => next++)
        await Promise.all(numbers.map((number) => publish(publisher, topic, number, what)))
        await waitUntil(() => numbers.every((number) => handled.has(number)), {
          timeoutMs: BACK_WITHIN_MS,
          describe: () =>
            `${what}: ${numbers.filter((number) => handled.has(number)).length} of ${KEYS} handled; ${troubles.slice(-5).join(' | ')}`,
        })
      }
      await round('all nodes up')
      for (const node of cluster.nodes) {
        await node.kill()
        await round(`node ${node.id} dead`)
        await node.restart()
        await complete()
        await round(`node ${node.id} back`)
      }
      for (const member of members) assert.equal((await member.health()).status, 'ok', troubles.join('\n'))
    },
  )

  test('leaders of the queues of a group are spread over the nodes', { timeout: 60_000 }, async () => {
    const topic = uniqueName('spread')
    const on = bus(cluster.nodes)
    on.consume(topic, () => {})
    await on.start()
    const rows = (await cluster.ctl('-q', 'list_queues', 'name', 'leader')).split('\n').map((row) => row.split('\t'))
    const leaders = new Set(
      rows.filter(([name]) => /:\d$/.test(name ?? '') && name?.includes(topic)).map(([, at]) => at),
    )
    assert.ok(leaders.size > 1, `all leaders on ${[...leaders].join()}`)
  })
})

/** As a user would who wants it stored: once more when it is not known whether it is. */
async function publish(bus: Bus, topic: string, number: number, what: string): Promise<void> {
  const errors: string[] = []
  await waitUntil(
    () =>
      bus.publish(topic, number, { key: `k${number % KEYS}` }).then(
        () => true,
        (error: unknown) => void errors.push(String(error)),
      ),
    {
      timeoutMs: 2 * BACK_WITHIN_MS,
      describe: () => `${what}: message ${number} is not confirmed; ${errors.slice(-2).join(' | ')}`,
    },
  )
}
