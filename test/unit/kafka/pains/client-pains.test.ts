import { expect, it } from 'vitest'
import { systemClock } from '../../../../src/kafka/network/clock.ts'
import { watch } from '../producer/producer-setup.ts'
import { numbers } from '../consumer/sim-consumer.ts'
import { PainWorld } from './pain-world.ts'

it('stale metadata after broker loss or address change: clients follow brokers to new addresses, without their bootstrap hosts', async () => {
  const world = new PainWorld(3, { brokers: 3 })
  const seen = world.consume(world.consumer())
  const producer = world.producer({}, { brokers: ['broker-1:9092'] })
  let next = 0
  const expectWorks = async (): Promise<void> => {
    const from = next
    const sends = [0, 1, 2].map((partition) => producer.send({ topic: 't', value: String(next++), partition }))
    await world.run(Promise.all(sends), 10_000)
    await world.advance(10_000)
    for (const partition of [0, 1, 2]) expect(seen.get(partition)?.at(-1)).toBe(String(from + partition))
  }
  await expectWorks()
  for (const broker of [1, 2, 3]) {
    world.kill(broker)
    await world.advance(1_000)
    await expectWorks()
    world.start(broker, { host: `elsewhere-${broker}`, port: 19_000 + broker })
    await world.advance(1_000)
    await expectWorks()
  }
  for (const broker of [1, 2, 3]) world.kill(broker)
  await world.advance(30_000)
  for (const broker of [1, 2, 3]) world.start(broker)
  await expectWorks()
  await world.end()
})

it('memory growth: slow and idle consumers keep to their bounds, and give back what they had', async () => {
  const world = new PainWorld(20, { brokers: 3 })
  const padding = 'x'.repeat(1_000)
  for (let partition = 0; partition < 20; partition++) {
    for (let from = 0; from < 400; from += 40)
      world.append(
        't',
        partition,
        numbers(40).map(() => padding),
      )
  }
  const maxBufferedBytes = 2_000_000
  const slow = world.consumer({ maxBufferedBytes })
  const idle = world.consumer({ group: 'idle', maxBufferedBytes })
  world.consume(slow, () => 50)
  // Takes one batch, and never comes back.
  await world.run(idle.next())
  let most = 0
  for (let step = 0; step < 200; step++) {
    await world.advance(500)
    most = Math.max(most, slow.bufferedBytes, idle.bufferedBytes)
  }
  expect(most).toBeGreaterThan(500_000)
  expect(most).toBeLessThan(1.5 * maxBufferedBytes)
  await world.run(idle.close())
  await world.end()
  expect([slow.bufferedBytes, idle.bufferedBytes]).toEqual([0, 0])
})

it('latency, sluggish polling: beside 16 idle consumers, a record is handled within 20 ms', async () => {
  const world = new PainWorld(1, { brokers: 1 })
  world.createTopic('quiet', 16)
  for (let count = 0; count < 16; count++) world.consume(world.consumer({ topics: ['quiet'], group: `idle-${count}` }))
  const seen = world.consume(world.consumer())
  await world.advance(10_000)
  for (let count = 0; count < 200; count++) {
    world.append('t', 0, [String(count)])
    await world.advance(20)
    expect(seen.get(0)?.length).toBe(count + 1)
    await world.advance(world.random.below(700))
  }
  await world.end()
})

it('bad shutdown: close ends within its bound under load, whatever the brokers do', async () => {
  for (const trouble of ['none', 'frozen', 'down'] as const) {
    const world = new PainWorld(3, { brokers: 3 })
    for (let partition = 0; partition < 3; partition++) world.append('t', partition, numbers(2_000))
    const consumer = world.consumer({ revokeTimeoutMs: 3_000, rebalanceTimeoutMs: 20_000 })
    world.consume(consumer, () => 500, 10)
    const producer = world.producer()
    await world.run(producer.send({ topic: 't', value: 'warm' }))
    await world.advance(5_000)
    const sends = numbers(500).map((value) => watch(world, producer.send({ topic: 't', value })))
    await world.advance(1)
    for (const broker of [1, 2, 3]) {
      if (trouble === 'frozen') void world.freeze(broker, 300_000)
      if (trouble === 'down') world.kill(broker)
    }
    const start = world.clock.now()
    await world.run(Promise.all([consumer.close(), producer.close({ deadlineMs: 3_000 })]))
    expect(world.clock.now() - start, trouble).toBeLessThan(trouble === 'none' ? 3_500 : 35_000)
    expect(sends.filter(({ settledAt }) => settledAt === undefined)).toEqual([])
    if (trouble === 'frozen') await world.advance(300_000)
    await world.end()
  }
})

it('re-auth deadlock, hung bootstrap: sessions of 5 s under load lose nothing, and a silent first address costs a moment', async () => {
  const users = new Map([['u', 'p']])
  const world = new PainWorld(2, { brokers: 2, security: { users, sessionMs: 5_000 } })
  world.network.blackHole('silent', 9_092)
  const sasl = { mechanism: 'plain', credentials: { username: 'u', password: 'p' } } as const
  const start = world.clock.now()
  const producer = world.producer({}, { sasl, brokers: ['silent:9092', 'kafka:9092'] })
  await world.run(producer.send({ topic: 't', value: '0', partition: 0 }))
  expect(world.clock.now() - start).toBeLessThan(2_000)
  let longest = 0
  for (let id = 1; id < 600; id++) {
    const sentAt = world.clock.now()
    await world.run(producer.send({ topic: 't', value: String(id), partition: id % 2 }))
    longest = Math.max(longest, world.clock.now() - sentAt)
    await world.advance(100)
  }
  expect(longest).toBeLessThan(500)
  await world.end()
})

it('runtime drift: no timer is ever set to less than nothing, or to no number', async () => {
  const world = new PainWorld(2, { brokers: 2 })
  const delays: number[] = []
  const clock = {
    now: () => world.clock.now(),
    setTimer: (run: () => void, delayMs: number) => {
      delays.push(delayMs)
      return world.clientClock.setTimer(run, delayMs)
    },
  }
  const producer = world.producer({}, { clock })
  for (let id = 0; id < 50; id++) {
    void producer.send({ topic: 't', value: String(id) })
    if (id === 20) world.kill(1)
    if (id === 30) world.start(1)
    await world.advance(200)
  }
  await world.end()
  expect(delays.length).toBeGreaterThan(20)
  expect(delays.filter((ms) => !(ms >= 0 && ms < 2 ** 31))).toEqual([])
  // Node warns of timers that are not whole numbers from 1 to 2^31 - 1, and older ones of some only.
  const warnings: string[] = []
  const onWarning = ({ name }: Error) => void warnings.push(name)
  process.on('warning', onWarning)
  await new Promise<void>((resolve) => void systemClock.setTimer(resolve, 0.25))
  process.off('warning', onWarning)
  expect(warnings).toEqual([])
})
