import assert from 'node:assert/strict'
import { connect } from '@nats-io/transport-node'
import { afterEach, describe, test } from 'vitest'
import { createBus } from 'busbar'
import type { BusEventMap } from 'busbar'
import { tcpProxy, uniqueName, waitUntil } from 'busbar/testing'
import { nats } from 'busbar/nats'
import { startPrivate } from '../../tools/brokers/index.ts'

const cleanUps: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp()
})

describe('core NATS loses what has no subscriber', () => {
  test(
    'each loss of the connection is reported, with an unknown count, for each group',
    { timeout: 30_000 },
    async () => {
      const server = await startPrivate('nats', { jetStream: false })
      cleanUps.push(() => server.stop())
      const proxy = await tcpProxy(server)
      cleanUps.push(() => proxy.close())
      const topic = uniqueName('core')
      const transport = nats({ url: `nats://${proxy.host}:${proxy.port}`, jetstream: false })
      const bus = createBus({ service: 'core', transport })
      cleanUps.push(() => bus.close({ timeoutMs: 1_000 }))
      const losses: BusEventMap['loss'][] = []
      let reconnects = 0
      bus.events.on('loss', (event) => void losses.push(event))
      bus.events.on('reconnect', () => void reconnects++)
      bus.consume(topic, () => undefined, { group: 'one', order: 'none' })
      bus.consume(topic, () => undefined, { group: 'two', order: 'none' })
      await bus.start()
      proxy.cut()
      await waitUntil(() => reconnects === 1)
      assert.deepEqual(
        new Map(losses.map(({ group, count }) => [group, count])),
        new Map([
          ['one', undefined],
          ['two', undefined],
        ]),
      )
      await bus.close()
      assert.equal(losses.length, 2, 'a close in order loses nothing')
    },
  )

  test('a slow consumer that the server cuts off is reported too', { timeout: 60_000 }, async () => {
    const server = await startPrivate('nats', { jetStream: false, config: 'max_pending: 1MB\nwrite_deadline: "1s"' })
    cleanUps.push(() => server.stop())
    const proxy = await tcpProxy(server)
    cleanUps.push(() => proxy.close())
    const topic = uniqueName('slow')
    const transport = nats({ url: `nats://${proxy.host}:${proxy.port}`, jetstream: false })
    const bus = createBus({ service: 'slow', transport })
    cleanUps.push(() => bus.close({ timeoutMs: 1_000 }))
    const losses: BusEventMap['loss'][] = []
    bus.events.on('loss', (event) => void losses.push(event))
    bus.consume(topic, () => undefined, { group: 'g', order: 'none' })
    await bus.start()
    const publisher = await connect({ servers: `${server.host}:${server.port}` })
    cleanUps.push(() => publisher.close())
    proxy.stall('down')
    const body = new Uint8Array(64_000)
    await waitUntil(
      async () => {
        for (let at = 0; at < 100; at++) publisher.publish(`busbar.any.${topic}`, body)
        await publisher.flush()
        const { slow_consumers: slow } = (await (await fetch(`${server.monitorUrl}/varz`)).json()) as {
          slow_consumers: number
        }
        return slow > 0
      },
      { timeoutMs: 20_000 },
    )
    proxy.resume()
    await waitUntil(() => losses.length > 0)
    assert.equal(losses[0]?.count, undefined)
    assert.match(losses[0]?.reason ?? '', /the connection to the server was lost/)
  })
})
