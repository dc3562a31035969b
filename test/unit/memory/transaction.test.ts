import { afterEach, expect, it } from 'vitest'
import { createBus } from 'busbar'
import type { Bus, BusOptions } from 'busbar'
import { memory, memoryBroker } from 'busbar/memory'
import type { MemoryTransport } from 'busbar/memory'
import { waitUntil } from 'busbar/testing'

const open: Bus[] = []
afterEach(async () => {
  await Promise.all(open.splice(0).map((bus) => bus.close({ timeoutMs: 0 })))
})

async function start(transport: MemoryTransport, options: Partial<BusOptions> = {}): Promise<Bus> {
  const bus = createBus({ service: 'test', transport, logger: false, ...options })
  open.push(bus)
  await bus.start()
  return bus
}

/** A group that has one message more than its topic has room for, until `release` is called. */
async function fill(bus: Bus, topic: string): Promise<() => void> {
  const gate = Promise.withResolvers<void>()
  bus.consume(topic, () => gate.promise, { group: `holds-${topic}`, concurrency: 50 })
  await bus.publishMany(topic, [{ data: 1 }, { data: 2 }])
  return gate.resolve
}

it('waits until all of its topics have room, and stores nothing before', async () => {
  const broker = memoryBroker({ maxBacklogBytes: 1_024 })
  const transport = memory({ broker })
  const bus = await start(transport)
  const [releaseA, releaseB] = [await fill(bus, 'a'), await fill(bus, 'b')]
  let isDone = false
  const done = bus
    .transaction(async (tx) => {
      await tx.publish('free', 1)
      await tx.publish('a', 3)
      await tx.publish('b', 3)
    })
    .then(() => (isDone = true))
  await waitUntil(() => broker.topic('a').waiters.size === 1)
  releaseA()
  // There is room in one of them, so it now waits for the other.
  await waitUntil(() => broker.topic('b').waiters.size === 1)
  expect([transport.messages('free'), isDone]).toEqual([[], false])
  expect(transport.messages('a')).toHaveLength(2)
  releaseB()
  await done
  expect(['free', 'a', 'b'].map((topic) => transport.messages(topic).length)).toEqual([1, 3, 3])
})

it('lets those that wait behind it continue when it has to wait for another topic', async () => {
  const broker = memoryBroker({ maxBacklogBytes: 1_024 })
  const bus = await start(memory({ broker }))
  const [releaseA, releaseB] = [await fill(bus, 'a'), await fill(bus, 'b')]
  const transaction = bus.transaction(async (tx) => {
    await tx.publish('a', 3)
    await tx.publish('b', 3)
  })
  await waitUntil(() => broker.topic('a').waiters.size === 1)
  const behind = bus.publish('a', 4)
  await waitUntil(() => broker.topic('a').waiters.size === 2)
  releaseA()
  await behind
  releaseB()
  await transaction
})

it('gives up the wait at the deadline: not sent, and stored in none of its topics later', async () => {
  const broker = memoryBroker({ maxBacklogBytes: 1_024 })
  const transport = memory({ broker })
  const bus = await start(transport, { publish: { deliveryTimeoutMs: 50 } })
  const release = await fill(bus, 'a')
  const failed = bus.transaction(async (tx) => {
    await tx.publish('free', 1)
    await tx.publish('a', 3)
  })
  await expect(failed).rejects.toMatchObject({ code: 'BUSBAR_PUBLISH', outcome: 'not-sent' })
  expect(broker.topic('a').waiters.size).toBe(0)
  release()
  await waitUntil(async () => (await bus.admin().groups('a'))[0]?.lag === 0)
  expect(transport.messages('free')).toEqual([])
  expect(transport.messages('a')).toHaveLength(2)
})

it('does not overtake publishers that wait for room', async () => {
  const broker = memoryBroker({ maxBacklogBytes: 1_024 })
  const transport = memory({ broker })
  const bus = await start(transport)
  const release = await fill(bus, 'a')
  const before = bus.publish('a', 'before')
  await waitUntil(() => broker.topic('a').waiters.size === 1)
  const transaction = bus.transaction((tx) => tx.publish('a', 'transaction'))
  await waitUntil(() => broker.topic('a').waiters.size === 2)
  release()
  await Promise.all([before, transaction])
  expect(transport.messages('a').map((message) => message.data())).toEqual([1, 2, 'before', 'transaction'])
})

it('is refused, with nothing stored, when a dead-letter topic of it is full: that one would never have room', async () => {
  const transport = memory({ maxBacklogBytes: 1_024 })
  const bus = await start(transport)
  await bus.publishMany('a.g.dlq', [{ data: 1 }, { data: 2 }])
  const failed = bus.transaction(async (tx) => {
    await tx.publish('free', 1)
    await tx.publish('a.g.dlq', 3)
  })
  await expect(failed).rejects.toMatchObject({ outcome: 'not-sent' })
  expect(transport.messages('free')).toEqual([])
})
