import assert from 'node:assert/strict'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { createBus } from 'busbar'
import type { Bus, Transport } from 'busbar'
import { uniqueName, waitUntil } from 'busbar/testing'
import { rabbitmq } from '../../src/transports/rabbitmq/index.ts'
import { BrokerError, startPrivate } from '../../tools/brokers/index.ts'
import type { RabbitMqBroker, RabbitMqNode, RabbitMqVersion } from '../../tools/brokers/index.ts'
import { unlessMissing } from '../integration/broker-helpers.ts'
import { Flow } from './flow.ts'

/** Members look at each other once a second: who does not agree shares anew that often. */
const AGREED_MS = 4_000
const AGREE_WITHIN_MS = 20_000
const GOES_ON_WITHIN_MS = 15_000

for (const version of ['debian', '4'] satisfies readonly RabbitMqVersion[]) {
  // Asked for first, so that a machine that can't have it skips the tests and says why.
  const single = await unlessMissing(startPrivate('rabbitmq', { version }))
  if (single instanceof BrokerError) {
    test.skip(single.message)
    continue
  }
  await single.stop()
  describe(`rabbitmq ${version}: what is on one node alone, when that node dies`, () => {
    let cluster: RabbitMqBroker
    let first: RabbitMqNode
    let flow: Flow | undefined
    const buses: Bus[] = []

    beforeAll(async () => {
      cluster = await startPrivate('rabbitmq', { version, nodes: 3 })
      first = cluster.nodes[0] ?? assert.fail()
    }, 240_000)
    afterEach(async () => {
      await flow?.close()
      flow = undefined
      for (const bus of buses.splice(0)) await bus.close({ timeoutMs: 500 })
      if (first.pid === undefined) await restarted()
    }, 120_000)
    afterAll(() => cluster.stop())

    /** A transport that knows all nodes, and begins at that one. */
    const startingAt = (at: number) => (): Transport =>
      rabbitmq({ url: [...cluster.nodes.slice(at), ...cluster.nodes.slice(0, at)].map(({ url }) => url) })

    async function restarted(): Promise<void> {
      await first.restart()
      await waitUntil(async () => (await Promise.all(cluster.nodes.map((node) => node.sees(3)))).every(Boolean), {
        timeoutMs: 60_000,
      })
    }

    test(
      'members that met while it was away, and one that joins when it is back, agree',
      { timeout: 180_000 },
      async () => {
        // The group is declared by the first member, and what is on one node alone is on its node.
        const running = new Flow({ members: [startingAt(0), startingAt(1)], publisher: startingAt(1) })
        flow = running
        const areCounted = (count: number): Promise<unknown> =>
          waitUntil(async () => (await running.publisher.admin().groups(running.topic))[0]?.members === count, {
            timeoutMs: GOES_ON_WITHIN_MS,
            describe: () => `${count} members are not counted`,
          })
        await running.start()
        const refused: string[] = []
        for (const bus of running.consumers)
          bus.events.on('error', ({ error }) => String(error).includes('refused') && refused.push(String(error)))
        await first.kill()
        await running.everyKey(5, GOES_ON_WITHIN_MS, 'while the node is away')
        await areCounted(2)
        await restarted()

        await running.join(startingAt(2))
        let sharedAt = performance.now()
        for (const bus of running.consumers) bus.events.on('rebalance', () => void (sharedAt = performance.now()))
        await waitUntil(() => performance.now() - sharedAt > AGREED_MS, {
          timeoutMs: AGREE_WITHIN_MS,
          describe: () => 'they share the partitions anew again and again',
        })
        await areCounted(3)
        expect(refused).toEqual([])
        await running.everyKey(5, GOES_ON_WITHIN_MS, 'with three members')
        await running.end()
      },
    )

    test('a broadcast that has moved to another node is in the way of no publisher', { timeout: 120_000 }, async () => {
      const topic = uniqueName('t')
      const add = (at: number): Bus => {
        const bus = createBus({ service: 'members', transport: startingAt(at)() })
        buses.push(bus)
        return bus
      }
      const [listener, publisher] = [add(0), add(1)]
      const seen: unknown[] = []
      listener.consume(topic, ({ data }) => void seen.push(data), { broadcast: true })
      await listener.start()
      await publisher.start()
      await publisher.publish(topic, 'before')
      await first.kill()
      const isBack = (): Promise<boolean> =>
        publisher.publish(topic, 'again').then(
          () => seen.includes('again'),
          () => false,
        )
      await waitUntil(isBack, { timeoutMs: GOES_ON_WITHIN_MS, describe: () => `seen: ${seen.join(', ')}` })
      for (let number = 0; number < 5; number++) await publisher.publish(topic, number)
      await waitUntil(() => seen.includes(4), { timeoutMs: 5_000, describe: () => `seen: ${seen.join(', ')}` })
    })
  })
}
