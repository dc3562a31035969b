import { describe, expect, it } from 'vitest'
import { BusbarError, createBus, silentLogger } from 'busbar'
import type { Transport } from 'busbar'
import { nats } from 'busbar/nats'
import { rabbitmq } from 'busbar/rabbitmq'
import { redis } from 'busbar/redis'
import { tcpProxy, uniqueName } from 'busbar/testing'
import { borrow } from '../../tools/brokers/index.ts'
import { skipIfMissing } from './broker-helpers.ts'

const TRANSPORTS: Readonly<Record<'redis' | 'nats' | 'rabbitmq', (port: number) => Transport>> = {
  redis: (port) => redis({ url: `redis://127.0.0.1:${port}`, retention: { maxMessages: 1_000 }, checkServer: false }),
  nats: (port) => nats({ url: `nats://127.0.0.1:${port}`, stream: { name: uniqueName('start') } }),
  rabbitmq: (port) => rabbitmq({ url: `amqp://guest:guest@127.0.0.1:${port}`, exchange: uniqueName('start') }),
}

describe.each(['redis', 'nats', 'rabbitmq'] as const)('a bus on %s', (name) => {
  it(
    'starts with the same transport as soon as its broker is there, and leaves nothing behind',
    { timeout: 120_000 },
    async (context) => {
      const broker = await skipIfMissing(context, borrow(name))
      const proxy = await tcpProxy({ port: Number(new URL(broker.url).port) })
      try {
        proxy.refuse()
        const bus = createBus({ service: 'start', transport: TRANSPORTS[name](proxy.port), logger: silentLogger })
        const handled: unknown[] = []
        bus.consume(`${uniqueName('start')}.topic`, (message) => handled.push(message.data))
        for (let time = 1; time <= 3; time++)
          await expect(bus.start({ timeoutMs: 0 })).rejects.toMatchObject({
            code: 'BUSBAR_CONNECTION',
            retryable: true,
          })
        expect(bus.state).toBe('idle')
        const attempts: number[] = []
        bus.events.on('connecting', ({ attempt }) => {
          attempts.push(attempt)
          if (attempt === 2) proxy.accept()
        })
        await bus.start({ timeoutMs: 60_000 })
        expect(attempts.slice(0, 2)).toEqual([1, 2])
        expect(await bus.health()).toMatchObject({ status: 'ok', live: true, ready: true })
        const topic = (await bus.health()).consumers[0]?.topic ?? ''
        await bus.publish(topic, 'hello')
        await expect.poll(() => handled, { timeout: 10_000 }).toEqual(['hello'])
        await bus.close()
        await expect.poll(() => proxy.links.length, { timeout: 10_000 }).toBe(0)
      } finally {
        await proxy.close()
        await broker.stop()
      }
    },
  )

  it.each([
    ['goes away while its consumer subscribes', true],
    ['takes no other connection while its consumer subscribes', false],
  ])('waits for a broker that %s', { timeout: 120_000 }, async (_what, cuts) => {
    const broker = await borrow(name)
    const proxy = await tcpProxy({ port: Number(new URL(broker.url).port) })
    try {
      const bus = createBus({ service: 'start', transport: TRANSPORTS[name](proxy.port), logger: silentLogger })
      const [topic, handled, troubles] = [`${uniqueName('start')}.topic`, [] as unknown[], [] as unknown[]]
      bus.consume(topic, (message) => handled.push(message.data))
      bus.events.on('error', ({ error }) => troubles.push(error))
      bus.events.on('connect', () => {
        proxy.refuse()
        if (cuts) proxy.cut()
      })
      let isOver = false
      const starting = bus
        .start({ timeoutMs: 60_000 })
        .then(() => 'started', String)
        .finally(() => {
          isOver = true
        })
      // Transports with a single connection need no other.
      await expect.poll(() => isOver || proxy.refused >= 3, { timeout: 20_000 }).toBe(true)
      proxy.accept()
      expect([await starting, troubles.filter((error) => !BusbarError.is(error))]).toEqual(['started', []])
      await bus.publish(topic, 'hello')
      await expect.poll(() => handled, { timeout: 10_000 }).toEqual(['hello'])
      await bus.close()
      await expect.poll(() => proxy.links.length, { timeout: 10_000 }).toBe(0)
    } finally {
      await proxy.close()
      await broker.stop()
    }
  })
})
