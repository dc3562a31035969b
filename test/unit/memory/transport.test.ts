import { afterEach, describe, expect, it } from 'vitest'
import { createBus, defineEvent } from 'busbar'
import type { Bus, BusOptions, Codec } from 'busbar'
import { memory, memoryBroker } from 'busbar/memory'
import { manualClock, waitUntil } from 'busbar/testing'

const open: Bus[] = []
afterEach(async () => {
  await Promise.all(open.splice(0).map((bus) => bus.close({ timeoutMs: 100 })))
})

async function start(transport = memory(), options: Partial<BusOptions> = {}): Promise<Bus> {
  const bus = createBus({ logger: false, service: 'test', transport, ...options })
  open.push(bus)
  await bus.start()
  return bus
}

describe('what a test can ask of it', () => {
  it('gives the messages and the dead letters, and forgets them', async () => {
    const transport = memory()
    const bus = await start(transport)
    bus.consume('orders.placed', (_message, ctx) => ctx.reject('no'))
    await bus.publish('orders.placed', { n: 1 }, { headers: { tenant: 'eu' } })
    await bus.publish('other', 2)
    await transport.waitForMessages('orders.placed.test.dlq', 1)
    expect(transport.messages().map(({ topic }) => topic)).toEqual(['orders.placed', 'other'])
    expect(transport.messages('orders.placed')[0]).toMatchObject({
      headers: { tenant: 'eu' },
      contentType: 'application/json',
    })
    expect(transport.deadLetters()).toHaveLength(1)
    transport.clear()
    expect([...transport.messages(), ...transport.deadLetters()]).toEqual([])
    await bus.publish('other', 3)
    expect(transport.messages()).toHaveLength(1)
  })

  it('gives the data of messages and dead letters, with their own codec too', async () => {
    const transport = memory()
    const bus = await start(transport)
    const reversed: Codec = {
      contentType: 'application/x-reversed',
      encode: (data) => Buffer.from(String(data)).reverse(),
      decode: (body) => Buffer.from(body).reverse().toString(),
    }
    await bus.consume('t', (_, ctx) => ctx.reject('no')).ready
    const dead = bus.events.once('deadLetter')
    await bus.publish('t', { n: 1 })
    await dead
    await bus.publish('bytes', Buffer.from('ab'))
    await bus.publish('none', null)
    await bus.publish(defineEvent<string>('odd', { codec: reversed }), 'abc')
    expect(transport.messages('t')[0]?.data()).toEqual({ n: 1 })
    expect(transport.deadLetters()[0]?.data()).toEqual({ n: 1 })
    expect((await transport.waitForMessages('bytes', 1))[0]?.data()).toEqual(Buffer.from('ab'))
    expect(transport.messages('none')[0]?.data()).toBeNull()
    const [odd] = transport.messages('odd')
    expect(() => odd?.data()).toThrow('No codec for content type "application/x-reversed"')
    expect(odd?.data(reversed)).toBe('abc')
    expect(Object.keys(odd ?? {})).not.toContain('data')
  })

  it('waits for messages, and says in its time-out how many there are', async () => {
    const transport = memory()
    const clock = manualClock()
    const bus = await start(transport, { clock })
    const three = transport.waitForMessages('t', 3)
    await bus.publishMany('t', [{ data: 1 }, { data: 2 }, { data: 3 }])
    expect(await three).toHaveLength(3)
    const late = expect(transport.waitForMessages('t', 4, { timeoutMs: 1_000 })).rejects.toThrow(
      '"t" has 3 messages after 1000 ms, 4 were expected',
    )
    await clock.advance(1_000)
    await late
  })
})

describe('bounds', () => {
  it('makes publishers wait for the slowest group, topic by topic, and lets them continue in order', async () => {
    const transport = memory({ maxBacklogBytes: 2_048 })
    const bus = await start(transport)
    const seen: number[] = []
    let release = (): void => {}
    const gate = new Promise<void>((resolve) => {
      release = resolve
    })
    bus.consume('slow', async (message) => {
      await gate
      seen.push(message.data as number)
    })
    const all = Promise.all(Array.from({ length: 20 }, (_, n) => bus.publish('slow', n)))
    let through = false
    void all.then(() => {
      through = true
    })
    await bus.publish('fast', 1)
    expect(through).toBe(false)
    release()
    await all
    await waitUntil(() => seen.length === 20, { timeoutMs: 5_000 })
    expect(seen).toEqual([...Array(20).keys()])
  })

  it('gives up the wait at the deadline of the publish: certainly not sent, and not delivered later', async () => {
    const transport = memory({ maxBacklogBytes: 1_024 })
    const bus = await start(transport, { publish: { deliveryTimeoutMs: 50 } })
    const consumer = bus.consume('t', () => {})
    await consumer.ready
    consumer.pause()
    await bus.publishMany('t', [{ data: 1 }, { data: 2 }])
    await expect(bus.publish('t', 'too late')).rejects.toMatchObject({ code: 'BUSBAR_PUBLISH' })
    consumer.resume()
    await waitUntil(async () => (await bus.admin().groups('t'))[0]?.lag === 0, { timeoutMs: 5_000 })
    expect(transport.messages('t')).toHaveLength(2)
  })

  it('forgets a publisher that has given up, also while there is no room', async () => {
    const broker = memoryBroker({ maxBacklogBytes: 1_024 })
    const bus = await start(memory({ broker }))
    const consumer = bus.consume('t', () => {})
    await consumer.ready
    consumer.pause()
    await bus.publishMany('t', [{ data: 1 }, { data: 2 }])
    const waiting = [1, 2, 3].map((data) => bus.publish('t', data))
    await waitUntil(() => broker.topic('t').waiters.size === 3)
    const closed = bus.close({ timeoutMs: 0 })
    await Promise.allSettled(waiting)
    await closed
    expect(broker.topic('t').waiters.size).toBe(0)
  })

  it('reports a loss when it drops what no group has asked for, and never drops dead letters', async () => {
    const transport = memory({ retainMessages: 10 })
    const bus = await start(transport)
    let lost = 0
    bus.events.on('loss', ({ count }) => {
      lost += count ?? 0
    })
    await bus.publishMany(
      'nobody',
      Array.from({ length: 25 }, (_, data) => ({ data })),
    )
    expect([transport.messages('nobody').length, lost]).toEqual([10, 15])
    bus.consume('t', (_message, ctx) => ctx.reject('no'))
    await bus.publishMany(
      't',
      Array.from({ length: 25 }, (_, data) => ({ data })),
    )
    await transport.waitForMessages('t.test.dlq', 25)
    expect(transport.deadLetters()).toHaveLength(25)
    expect(lost).toBe(15)
  })

  it('keeps what a group has not had, however much that is', async () => {
    const transport = memory({ retainMessages: 1 })
    const bus = await start(transport)
    const seen: unknown[] = []
    const consumer = bus.consume('t', (message) => void seen.push(message.data))
    await consumer.ready
    consumer.pause()
    await bus.publishMany(
      't',
      Array.from({ length: 100 }, (_, data) => ({ data })),
    )
    consumer.resume()
    await waitUntil(() => seen.length === 100, { timeoutMs: 5_000 })
  })
})

describe('one broker for several buses', () => {
  it('shares it, and belongs to one bus each', async () => {
    const broker = memoryBroker()
    const transport = memory({ broker })
    const [one, two] = [await start(transport), await start(memory({ broker }))]
    const seen: unknown[] = []
    two.consume('t', (message) => void seen.push(message.source))
    await one.publish('t', 1)
    await waitUntil(() => seen.length === 1, { timeoutMs: 5_000 })
    await expect(createBus({ logger: false, service: 'third', transport }).start()).rejects.toThrow(
      'memory({ broker })',
    )
    expect(() => memory({ broker, retainMessages: 5 })).toThrow('memoryBroker()')
  })

  it('does not hand out what is changed afterwards', async () => {
    const transport = memory()
    const bus = await start(transport)
    const bytes = Uint8Array.of(1, 2, 3)
    await bus.publish('t', bytes)
    bytes.fill(9)
    expect([...(transport.messages('t')[0]?.body ?? [])]).toEqual([1, 2, 3])
  })
})
