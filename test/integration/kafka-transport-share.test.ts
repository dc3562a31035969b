import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createBus } from 'busbar'
import type { Bus, ConsumeOptions, Handler } from 'busbar'
import { kafka } from 'busbar/kafka'
import { createClient } from 'busbar/kafka/client'
import type { KafkaClient } from 'busbar/kafka/client'
import { childProgram, uniqueName, waitUntil } from 'busbar/testing'
import { startPrivate } from '../../tools/brokers/index.ts'
import type { KafkaBroker } from '../../tools/brokers/index.ts'
import { QUICK, QUICK_PROPERTIES } from '../conformance/kafka-suite.ts'
import { QUICK_GROUPS } from './kafka-consumer-setup.ts'

const GROUP = 'workers'

/** Of the test that counts members: those of the others live until the end. */
const OWN_GROUP = 'counted'

/** What a dead member was assigned goes to another one when its session ends: after 45 s by default. */
const QUICK_SHARES = {
  'group.share.min.session.timeout.ms': '1000',
  'group.share.session.timeout.ms': '2000',
  'group.share.min.heartbeat.interval.ms': '150',
  'group.share.heartbeat.interval.ms': '150',
}

let broker: KafkaBroker
let client: KafkaClient
const buses: Bus[] = []

beforeAll(async () => {
  broker = await startPrivate('kafka', {
    properties: { ...QUICK_GROUPS.properties, ...QUICK_PROPERTIES, ...QUICK_SHARES },
  })
  client = createClient({ brokers: [`${broker.host}:${broker.port}`], clientId: 'test' })
}, 300_000)

afterAll(async () => {
  await Promise.all(buses.map((bus) => bus.close({ timeoutMs: 2_000 })))
  await client.close()
  await broker.stop()
})

function newBus(): Bus {
  const bus = createBus({ service: 'shop', logger: false, transport: kafka({ ...QUICK, url: broker.url }) })
  buses.push(bus)
  return bus
}

async function start(topic: string, handler: Handler, options: ConsumeOptions = {}): Promise<Bus> {
  const bus = newBus()
  const share = {
    order: 'none',
    retry: { attempts: 4, backoff: 'fixed', baseMs: 10 },
    native: { share: true },
  } as const
  bus.consume(topic, handler, { group: GROUP, ...share, ...options })
  await bus.start()
  return bus
}

async function publish(topic: string, count: number): Promise<string[]> {
  const bus = newBus()
  await bus.start()
  const receipts = await bus.publishMany(
    topic,
    Array.from({ length: count }, (_, data) => ({ data })),
  )
  return receipts.map(({ id }) => id)
}

async function letters(topic: string): Promise<string[]> {
  const bus = newBus()
  await bus.start()
  const found = await bus.deadLetters(topic, GROUP).list({ limit: 1_000 })
  return found.map(({ message }) => message.id)
}

const until = (condition: () => boolean | Promise<boolean>, describe: () => unknown): Promise<boolean> =>
  waitUntil(condition, { timeoutMs: 40_000, describe })

describe('a consumer with a share group', () => {
  it('T16: a handler that always throws has a dead letter for each message, by id', { timeout: 90_000 }, async () => {
    const topic = uniqueName('throws')
    const ids = await publish(topic, 20)
    let runs = 0
    await start(topic, () => {
      runs++
      throw new Error('always')
    })
    await until(
      async () => (await letters(topic)).length >= 20,
      () => runs,
    )
    expect((await letters(topic)).toSorted()).toEqual(ids.toSorted())
    expect(runs).toBe(80)
  })

  it('T16: a message that kills its process at each delivery has its dead letter', { timeout: 180_000 }, async () => {
    const topic = uniqueName('kills')
    const ids = await publish(topic, 2)
    const starts: (string | undefined)[] = []
    const rejected = new Set<string>()
    for (let process = 0; process < 20 && rejected.size < ids.length; process++) {
      await using child = await childProgram({
        module: new URL('../conformance/kafka-child.ts', import.meta.url),
        program: new URL('./kafka-share-program.ts', import.meta.url),
        argument: { topic, group: GROUP },
        env: { BUSBAR_TEST_KAFKA: broker.url },
      })
      const isOver = (): boolean => new Set([...rejected, ...child.ids('rejected')]).size === ids.length
      await Promise.race([child.exited, until(isOver, () => child.records())])
      for (const { type, id, attempt } of child.records()) if (type === 'start') starts.push(`${id} ${attempt}`)
      for (const id of child.ids('rejected')) rejected.add(id)
    }
    expect((await letters(topic)).toSorted()).toEqual(ids.toSorted())
    // One process may have died of one message while it held the other.
    for (const id of ids) {
      const attempts = starts.filter((text) => text?.startsWith(id) === true).map((text) => Number(text?.split(' ')[1]))
      expect(attempts.length).toBeGreaterThanOrEqual(3)
      expect(attempts).toEqual([...new Set(attempts)].toSorted((a, b) => a - b))
      expect(attempts.at(-1)).toBeLessThanOrEqual(4)
    }
  })

  it('T16: a clean shutdown with all handlers busy uses up no delivery of what they had not begun with', async () => {
    const topic = uniqueName('shutdown')
    await publish(topic, 200)
    const gate = Promise.withResolvers<void>()
    let running = 0
    let begun = 0
    const bus = await start(
      topic,
      async () => {
        begun++
        // All slots get used, and then stand still.
        if (begun <= 40) return
        running++
        await gate.promise
      },
      { concurrency: 8 },
    )
    await until(
      () => running === 8,
      () => [begun, running],
    )
    const closed = bus.close({ timeoutMs: 20_000 })
    gate.resolve()
    await closed
    const rest = client.shareConsumer({
      group: `${GROUP}.share`,
      topics: [topic],
      acquireMode: 'record_limit',
      maxUndecided: 200,
    })
    const counts: number[] = []
    await until(
      async () => {
        const { value = [] } = await rest.next()
        for (const record of value) {
          counts.push(record.deliveryCount)
          record.accept()
        }
        return counts.length === 200 - begun
      },
      () => [begun, counts.length],
    )
    await rest.close()
    expect(new Set(counts)).toEqual(new Set([1]))
  })

  it('members share single messages of one partition, and what they need is shown, moved and deleted', async () => {
    const topic = uniqueName('members')
    await client.admin().topics.create([{ name: topic, partitions: 1 }])
    const seen = new Map<string, string[]>()
    const member = (name: string): Promise<Bus> =>
      start(
        topic,
        async ({ id }) => {
          seen.set(id, [...(seen.get(id) ?? []), name])
          // Long enough for one member alone to be slower than both.
          await new Promise((resolve) => setTimeout(resolve, 10))
        },
        { concurrency: 2, group: OWN_GROUP },
      )
    const members = [await member('a'), await member('b')]
    const ids = await publish(topic, 200)
    await until(
      () => seen.size === 200,
      () => seen.size,
    )
    expect([...seen.keys()].toSorted()).toEqual(ids.toSorted())
    expect(new Set([...seen.values()].map((names) => names.length))).toEqual(new Set([1]))
    expect(new Set([...seen.values()].flat())).toEqual(new Set(['a', 'b']))
    const bus = newBus()
    const transport = kafka({ ...QUICK, url: broker.url })
    const probe = createBus({ service: 'probe', logger: false, transport })
    buses.push(probe)
    await bus.start()
    await probe.start()
    const { admin } = transport
    const info = async () => (await admin?.groups(topic, OWN_GROUP))?.find(({ group }) => group === OWN_GROUP)
    await until(async () => (await info())?.lag === 0, info)
    expect(await info()).toMatchObject({ members: 2, partitions: [{ partition: `${topic}/0`, lag: 0 }] })
    await expect(admin?.seek(topic, OWN_GROUP, 'earliest')).rejects.toMatchObject({ code: 'BUSBAR_UNSUPPORTED' })
    await Promise.all(members.map((each) => each.close()))
    await until(async () => (await info())?.members === 0, info)
    await admin?.seek(topic, OWN_GROUP, 'earliest')
    expect(await info()).toMatchObject({ lag: 200 })
    await admin?.deleteGroup(topic, OWN_GROUP)
    expect(await info()).toBeUndefined()
  }, 90_000)

  it(
    'handles all messages through a restart of the broker, and none of them becomes a dead letter',
    { timeout: 180_000 },
    async () => {
      const topic = uniqueName('restart')
      const handled = new Set<string>()
      await start(
        topic,
        async ({ id }) => {
          await new Promise((resolve) => setTimeout(resolve, 5))
          handled.add(id)
        },
        { concurrency: 20 },
      )
      const ids = await publish(topic, 500)
      await until(
        () => handled.size > 50,
        () => handled.size,
      )
      await broker.kill()
      await broker.restart()
      await until(
        () => handled.size === 500,
        () => handled.size,
      )
      expect([...handled].toSorted()).toEqual(ids.toSorted())
      expect(await letters(topic)).toEqual([])
    },
  )
})
