import { describe, expect, it } from 'vitest'
import { createBus } from 'busbar'
import type { OutgoingMessage } from 'busbar'
import type { Delivery, SubscriptionSpec } from 'busbar/transport'
import { memoryAdmin } from '../../../src/transports/memory/admin.ts'
import { memory, memoryBroker } from 'busbar/memory'
import type { MemoryBroker } from 'busbar/memory'
import { manualClock, waitUntil } from 'busbar/testing'
import { encoded } from '../core/stub-transport.ts'

function message(id: string, given: Partial<OutgoingMessage> = {}): OutgoingMessage {
  return { ...encoded(id, { topic: 't', key: undefined }), deliverAt: undefined, group: undefined, ...given }
}

function publish(broker: MemoryBroker, ...messages: OutgoingMessage[]): void {
  for (const each of messages)
    if (broker.append(each, broker.clock.now()) === undefined) throw new Error('there is room')
  broker.appended()
}

function join(broker: MemoryBroker, given: Partial<SubscriptionSpec> = {}) {
  const received: Delivery[] = []
  const lost: Delivery[] = []
  const subscription = broker.subscribe(
    {
      topic: 't',
      group: 'g',
      order: 'key',
      ephemeral: false,
      from: 'earliest',
      prefetch: 100,
      prefetchBytes: 1e6,
      maxPerKey: Number.MAX_SAFE_INTEGER,
      consumerId: 'm',
      ...given,
    },
    { receive: (batch) => received.push(...batch), lost: (deliveries) => lost.push(...deliveries), recall: () => {} },
  )
  const ids = (): string[] => received.map((delivery) => delivery.message.id)
  return { subscription, received, lost, ids }
}

async function turns(): Promise<void> {
  for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve))
}

describe('attempts', () => {
  it('count what failed, and neither what was handed back nor what a closed member held', async () => {
    const broker = memoryBroker()
    publish(broker, ...['a', 'b', 'c', 'd'].map((id) => message(id)))
    const first = join(broker)
    first.subscription.request(4, 1e6)
    await turns()
    const [a, b, c] = first.received
    // The runtime raises it with each attempt that it makes by itself.
    c!.attempt = 3
    await first.subscription.settle([
      { delivery: a!, outcome: { type: 'nack', delayMs: 0 } },
      { delivery: b!, outcome: { type: 'release', delayMs: 0 } },
    ])
    await first.subscription.close()
    const second = join(broker)
    second.subscription.request(4, 1e6)
    await turns()
    expect(second.received.map(({ message: { id }, attempt, history }) => [id, attempt, history])).toEqual([
      ['a', 2, 'returned'],
      ['b', 1, 'returned'],
      ['c', 3, 'returned'],
      ['d', 1, 'returned'],
    ])
  })
})

describe('a hot key', () => {
  it('takes no more of a member than maxPerKey, follows in order, and leaves the rest to other keys', async () => {
    const broker = memoryBroker({ maxBacklogBytes: 1 << 26 })
    const member = join(broker, { maxPerKey: 4 })
    const hot = Array.from({ length: 5_000 }, (_, index) => message(`h${index}`, { key: 'hot' }))
    publish(broker, ...hot, message('other', { key: 'k' }))
    member.subscription.request(6_000, 1e9)
    await turns()
    expect(member.ids()).toEqual(['h0', 'h1', 'h2', 'h3', 'other'])
    for (let settled = 0; settled < member.received.length; settled++) {
      await member.subscription.settle([{ delivery: member.received[settled]!, outcome: { type: 'ack' } }])
      await turns()
      if (settled < 4_900) expect(member.received.length - settled).toBeLessThanOrEqual(6)
    }
    expect(member.ids().filter((id) => id !== 'other')).toEqual(hot.map(({ id }) => id))
  })
})

describe('a group', () => {
  it('keeps redriven copies when it is moved, with what they have used', async () => {
    const broker = memoryBroker()
    const member = join(broker)
    publish(broker, message('old'), ...['out', 'waits', 'later'].map((id) => message(id, { group: 'g' })))
    member.subscription.request(2, 1e6)
    await turns()
    expect(member.ids()).toEqual(['out', 'waits'])
    await member.subscription.settle([{ delivery: member.received[1]!, outcome: { type: 'nack', delayMs: 0 } }])
    broker.seek('t', 'g', 'latest')
    expect(member.lost.map((delivery) => delivery.message.id)).toEqual(['out'])
    member.subscription.request(10, 1e6)
    await turns()
    expect(member.received.slice(2).map(({ message: { id }, attempt }) => [id, attempt])).toEqual([
      ['out', 1],
      ['waits', 2],
      ['later', 1],
    ])
  })

  it('that got redriven messages before its first member starts where that member says', async () => {
    const broker = memoryBroker()
    publish(broker, message('a'), message('copy', { group: 'g' }), message('b'))
    const member = join(broker)
    member.subscription.request(10, 1e6)
    await turns()
    expect(member.ids().toSorted()).toEqual(['a', 'b', 'copy'])
    await member.subscription.settle(
      member.received.map((delivery) => ({ delivery, outcome: { type: 'ack' as const } })),
    )
    expect(broker.topics.get('t')!.groups.get('g')!.pendingBytes).toBe(0)
  })

  it('that is deleted while it is consumed continues where it was, for a pattern as well, and says so', async () => {
    const transport = memory()
    const bus = createBus({ service: 's', transport })
    const warnings: string[] = []
    bus.events.on('warning', ({ code }) => warnings.push(code))
    let handled = 0
    bus.consume('t', () => void handled++)
    bus.consume('u.*', () => void handled++)
    await bus.start()
    await bus.publish('t', 1)
    await bus.publish('u.a', 1)
    await waitUntil(() => handled === 2)
    await bus.admin().deleteGroup('t', 's')
    await bus.admin().deleteGroup('u.a', 's')
    for (let sent = 0; sent < 10; sent++) await Promise.all([bus.publish('t', sent), bus.publish('u.a', sent)])
    await waitUntil(() => handled === 22)
    expect(warnings).toEqual(['memory-group-deleted', 'memory-group-deleted'])
    await bus.close()
  })

  it('lets publishers continue when what it had not read is removed', async () => {
    const broker = memoryBroker({ maxBacklogBytes: 2_048 })
    const member = join(broker)
    while (broker.topics.get('t')!.hasRoom) publish(broker, message('m'))
    let settled = 0
    expect(broker.append(message('waits'), broker.clock.now())).toBeUndefined()
    broker.topic('t').waiters.push({
      previous: undefined,
      next: undefined,
      proceed: () => {
        broker.appendWaiter(message('waits'))
        settled++
      },
    })
    const { start, end } = broker.topics.get('t')!.log
    const positions = Array.from({ length: end - start }, (_, index) => ({ topic: 't', offset: start + index }))
    expect(broker.remove('t', positions)).toBe(positions.length)
    expect(settled).toBe(1)
    member.subscription.request(10, 1e6)
    await turns()
    expect(member.ids()).toEqual(['waits'])
  })
})

describe('a pattern of many topics', () => {
  it('looks only at the topics where something happened', async () => {
    const broker = memoryBroker()
    for (let topic = 0; topic < 2_000; topic++) broker.topic(`t.${topic}`)
    const member = join(broker, { topic: 't.*' })
    await turns()
    let looks = 0
    for (const { groups } of broker.topics.values()) {
      for (const queue of groups.values()) {
        const distribute = queue.distribute.bind(queue)
        queue.distribute = () => {
          looks++
          distribute()
        }
      }
    }
    for (let sent = 0; sent < 50; sent++) {
      member.subscription.request(1, 1e3)
      publish(broker, message(`m${sent}`, { topic: `t.${sent}` }))
      await turns()
      await member.subscription.settle([{ delivery: member.received.at(-1)!, outcome: { type: 'ack' } }])
    }
    expect(member.received).toHaveLength(50)
    expect(looks).toBeLessThan(500)
  })
})

describe('the clock of a shared broker', () => {
  it('is that of the first bus, and another one is warned', async () => {
    const broker = memoryBroker()
    const [clock, other] = [manualClock(), manualClock()]
    const first = createBus({ service: 'one', transport: memory({ broker }), clock })
    const second = createBus({ service: 'two', transport: memory({ broker }), clock: other })
    const third = createBus({ service: 'three', transport: memory({ broker }) })
    const warnings: string[] = []
    for (const bus of [first, second, third]) bus.events.on('warning', ({ code }) => warnings.push(code))
    await first.start()
    await second.start()
    await third.start()
    expect(broker.clock).toBe(clock)
    expect(warnings).toEqual(['memory-clock'])
    const given = memoryBroker({ clock })
    const late = createBus({ service: 'late', transport: memory({ broker: given }), clock: other })
    await late.start()
    expect(given.clock).toBe(clock)
    await Promise.all([first, second, third, late].map((bus) => bus.close()))
  })
})

describe('positions', () => {
  const at = (offset: number) => ({ topic: 't', offset })

  async function partition(broker: MemoryBroker) {
    const [group] = await memoryAdmin(() => broker).groups('t')
    const [found] = group?.partitions ?? []
    return { position: found?.position, head: found?.head, start: found?.start, lag: found?.lag }
  }

  it('wait for the oldest message that is not settled, and follow what is deleted', async () => {
    const broker = memoryBroker()
    const { subscription, received } = join(broker)
    expect(await partition(broker)).toEqual({ position: undefined, head: undefined, start: undefined, lag: 0 })
    publish(broker, ...['a', 'b', 'c'].map((id) => message(id)))
    subscription.request(3, 1e6)
    await turns()
    const ack = (index: number) =>
      subscription.settle([{ delivery: received[index] as Delivery, outcome: { type: 'ack' } }])
    await ack(1)
    expect(await partition(broker)).toEqual({ position: undefined, head: at(2), start: at(0), lag: 2 })
    await ack(0)
    expect(await partition(broker)).toEqual({ position: at(1), head: at(2), start: at(0), lag: 1 })
    broker.remove('t', [at(0), at(1)])
    expect(await partition(broker)).toEqual({ position: at(1), head: at(2), start: at(2), lag: 1 })
    await ack(2)
    broker.remove('t', [at(2)])
    expect(await partition(broker)).toEqual({ position: at(2), head: undefined, start: undefined, lag: 0 })
  })

  it('of a redriven copy for one group do not count: it has no place in the log', async () => {
    const broker = memoryBroker()
    const { subscription, received } = join(broker)
    publish(broker, message('a'), message('copy', { group: 'g' }))
    subscription.request(2, 1e6)
    await turns()
    await subscription.settle(
      received
        .filter(({ message: { id } }) => id === 'a')
        .map((delivery) => ({ delivery, outcome: { type: 'ack' } as const })),
    )
    expect(await partition(broker)).toEqual({ position: at(0), head: at(0), start: at(0), lag: 1 })
  })
})
