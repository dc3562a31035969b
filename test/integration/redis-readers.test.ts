import assert from 'node:assert/strict'
import { describe, test } from 'vitest'
import { silentLogger } from 'busbar'
import type { Bus } from 'busbar'
import { uniqueName, waitUntil } from 'busbar/testing'
import { redisHarness, streamOf } from './redis-harness.ts'

const QUICK = { retention: { maxMessages: 100_000 }, leaseMs: 1_500, pollIntervalMs: 100, partitions: 2 } as const

const { broker, client, bus, proxy } = await redisHarness('readers', QUICK)

/** Blocking reads of all consumers of a group share a connection, and nothing else. */
describe('Redis: connections', () => {
  const connections = async (name: string): Promise<number> =>
    (await client.clientList()).filter((one) => one.name === name).length
  async function readCalls(): Promise<number> {
    return Number(/cmdstat_xreadgroup:calls=(\d+)/.exec(await client.info('commandstats'))?.[1] ?? 0)
  }

  test('one for commands, and one for each group, however many topics', async () => {
    const name = uniqueName('name')
    const on = bus({ connectionName: name })
    const topics = Array.from({ length: 10 }, () => uniqueName('shared'))
    const handled = new Set<string>()
    for (const group of ['a', 'b', 'c'])
      for (const topic of topics)
        on.consume(topic, ({ data }) => void handled.add(`${group} ${String(data)}`), { group })
    await on.start()
    for (const topic of topics) await on.publish(topic, topic)
    await waitUntil(() => handled.size === 30, { timeoutMs: 10_000, describe: () => `${handled.size} handled` })
    assert.equal(await connections(name), 4)
  })

  test('go with the last consumer of their group; a topic is not read twice in the name of one consumer', async () => {
    const name = uniqueName('name')
    const on = bus({ connectionName: name })
    const [a, b] = [uniqueName('goes'), uniqueName('stays')]
    const handled: unknown[] = []
    const consume = (topic: string) => on.consume(topic, ({ data }) => void handled.push(data))
    const [first, second] = [consume(a), consume(b)]
    await on.start()
    const namesOf = async (topic: string): Promise<string[]> =>
      (await client.xInfoConsumers(streamOf(topic), 'readers')).map((one) => one.name)
    const shared = await namesOf(b)
    assert.deepEqual(await namesOf(a), shared)
    assert.equal(await connections(name), 2)
    await first.close()
    assert.equal(await connections(name), 2)
    const again = consume(a)
    await again.ready
    assert.equal(await connections(name), 3)
    assert.notDeepEqual(await namesOf(a), shared)
    await on.publish(a, 'a')
    await on.publish(b, 'b')
    await waitUntil(() => handled.length === 2, { timeoutMs: 5_000 })
    await second.close()
    await again.close()
    await waitUntil(async () => (await connections(name)) === 1, { timeoutMs: 5_000 })
  })

  test(
    'a consumer without room holds up no other, and gets the rest when it has room',
    { timeout: 30_000 },
    async () => {
      const on = bus()
      const [slow, fast] = [uniqueName('slow'), uniqueName('fast')]
      const gate = Promise.withResolvers<void>()
      const [slowOnes, fastOnes]: [unknown[], unknown[]] = [[], []]
      on.consume(
        slow,
        async ({ data }) => {
          slowOnes.push(data)
          await gate.promise
        },
        { concurrency: 1, prefetch: 1 },
      )
      on.consume(fast, ({ data }) => void fastOnes.push(data))
      await on.start()
      for (let number = 0; number < 20; number++) await on.publish(slow, number, { key: 'k' })
      await waitUntil(() => slowOnes.length === 1, { timeoutMs: 5_000 })
      for (let number = 0; number < 500; number++) await on.publish(fast, number, { key: 'k' })
      await waitUntil(() => fastOnes.length === 500, { timeoutMs: 5_000, describe: () => `${fastOnes.length} handled` })
      assert.deepEqual(
        fastOnes,
        Array.from({ length: 500 }, (_, at) => at),
      )
      assert.equal(slowOnes.length, 1)
      gate.resolve()
      await waitUntil(() => slowOnes.length === 20, { timeoutMs: 10_000, describe: () => slowOnes.join() })
      assert.deepEqual(
        slowOnes,
        Array.from({ length: 20 }, (_, at) => at),
      )
    },
  )

  test('a consumer with little room does not make the reads of others small', { timeout: 30_000 }, async () => {
    const on = bus({}, { logger: silentLogger })
    const [small, large] = [uniqueName('small'), uniqueName('large')]
    await on.start()
    const count = 4_000
    for (const topic of [small, large])
      await on.publishMany(
        topic,
        Array.from({ length: topic === small ? 50 : count }, (_, number) => ({ data: number })),
      )
    await client.configResetStat()
    let handled = 0
    const wait = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
    const consumers = [
      on.consume(small, wait, { from: 'earliest', concurrency: 1, prefetch: 1 }),
      on.consume(large, () => void handled++, { from: 'earliest', prefetch: 1_000 }),
    ]
    await Promise.all(consumers.map(({ ready }) => ready))
    await waitUntil(() => handled === count, { timeoutMs: 10_000, describe: () => `${handled} handled` })
    // One by one it would take 2,000.
    assert.ok((await readCalls()) < 400, `${await readCalls()} reads`)
  })

  test(
    'where CLIENT UNBLOCK is forbidden, a quiet consumer does not slow down a busy one',
    { timeout: 60_000 },
    async () => {
      await client.sendCommand(['ACL', 'SETUSER', 'limited', 'on', '>secret', '~*', '&*', '+@all', '-client|unblock'])
      const url = new URL(broker.url)
      url.username = 'limited'
      url.password = 'secret'
      const on = bus({ url: url.href }, { logger: silentLogger })
      const topic = uniqueName('busy')
      await on.start()
      await on.publishMany(
        topic,
        Array.from({ length: 500 }, (_, data) => ({ data, key: `k${data}` })),
      )
      await on.consume(uniqueName('quiet'), () => {}).ready
      let handled = 0
      on.consume(
        topic,
        async () => {
          await new Promise((resolve) => setImmediate(resolve))
          handled++
        },
        { from: 'earliest', prefetch: 10, concurrency: 5 },
      )
      // 50 reads: with 250 ms for each they take 12 s.
      await waitUntil(() => handled === 500, { timeoutMs: 5_000, describe: () => `${handled} handled` })
    },
  )

  test('a paused consumer gets nothing, and others go on', async () => {
    const on = bus()
    const [paused, other] = [uniqueName('paused'), uniqueName('other')]
    const [pausedOnes, otherOnes]: [unknown[], unknown[]] = [[], []]
    const consumer = on.consume(paused, ({ data }) => void pausedOnes.push(data))
    on.consume(other, ({ data }) => void otherOnes.push(data))
    await on.start()
    consumer.pause()
    await on.publish(paused, 1)
    await on.publish(other, 1)
    await waitUntil(() => otherOnes.length === 1, { timeoutMs: 5_000 })
    await on.publish(other, 2)
    await waitUntil(() => otherOnes.length === 2, { timeoutMs: 5_000 })
    assert.deepEqual(pausedOnes, [])
    consumer.resume()
    await waitUntil(() => pausedOnes.length === 1, { timeoutMs: 5_000 })
  })

  test(
    'a key of the wrong type, or a deleted stream, is the trouble of one consumer',
    { timeout: 30_000 },
    async () => {
      const on = bus({}, { logger: silentLogger })
      const topics = ['wrong', 'deleted', 'good'].map((base) => uniqueName(base))
      const [wrong = '', deleted = '', good = ''] = topics
      const [errors, handled] = [[] as string[], [] as unknown[]]
      on.events.on('error', ({ error }) => errors.push(String(error)))
      for (const topic of topics) on.consume(topic, ({ data }) => void handled.push(data))
      await on.start()
      await client.del(streamOf(wrong))
      await client.set(streamOf(wrong), 'not a stream')
      await waitUntil(() => errors.some((text) => text.includes(streamOf(wrong))), {
        timeoutMs: 10_000,
        describe: () => errors.join(),
      })
      await client.del(streamOf(deleted))
      const sent: number[] = []
      for (let number = 0; number < 50; number++) {
        for (const topic of [good, deleted]) {
          await on.publish(topic, sent.length)
          sent.push(sent.length)
        }
      }
      await waitUntil(() => handled.length === sent.length, { timeoutMs: 10_000, describe: () => `${handled.length}` })
      await client.del(streamOf(wrong))
      await on.publish(wrong, 'repaired')
      await on.publish(wrong, 'repaired')
      await waitUntil(() => handled.filter((data) => data === 'repaired').length === 2, { timeoutMs: 10_000 })
    },
  )
})

/** What was in a lost reply is looked for. What was acked is none of it, whoever has read it. */
describe('Redis: a reader whose connection breaks', () => {
  /** Number of reads that wait for messages. */
  const blocked = async (name: string): Promise<number> =>
    (await client.clientList()).filter((one) => one.name === name && one.flags.includes('b')).length
  async function breakReader(name: string): Promise<void> {
    const readers = (await client.clientList()).filter((one) => one.name === name && one.cmd.startsWith('xreadgroup'))
    assert.equal(readers.length, 1)
    for (const { id } of readers) await client.sendCommand(['CLIENT', 'KILL', 'ID', String(id)])
  }
  /** In both partitions: what comes back comes before what is new. */
  async function publishMore(
    on: Bus,
    topic: string,
    kind: string,
    ...handled: readonly (readonly string[])[]
  ): Promise<void> {
    const more = Array.from({ length: 8 }, (_, at) => `${kind} ${at}`)
    for (const data of more) await on.publish(topic, data, { key: data })
    await waitUntil(() => more.every((data) => handled.flat().includes(data)), {
      timeoutMs: 10_000,
      describe: () => handled.join(' and '),
    })
  }
  const count = (handled: readonly string[], kind: string): number =>
    handled.filter((data) => data.startsWith(kind)).length

  /** Eight slow messages, and then 20 that a first member has acked, which is going to lose partitions. */
  async function ackedAboveSlow(topic: string, first: Bus) {
    const gate = Promise.withResolvers<void>()
    const handled: string[] = []
    const consumer = first.consume(
      topic,
      async ({ data }, { signal }) => {
        if (String(data).startsWith('slow')) await gate.promise
        signal.throwIfAborted()
        handled.push(String(data))
      },
      { prefetch: 100, concurrency: 50 },
    )
    await first.start()
    for (let at = 0; at < 8; at++) await first.publish(topic, `slow ${at}`, { key: `s${at}` })
    for (let at = 0; at < 20; at++) await first.publish(topic, `quick ${at}`, { key: `q${at}` })
    await waitUntil(() => consumer.stats().acked === 20, { timeoutMs: 10_000 })
    return { handled, open: gate.resolve }
  }

  test.each(['hands over', 'dies with'])(
    'does not handle again what a member has acked that %s its partitions',
    { timeout: 30_000 },
    async (how) => {
      const [topic, name] = [uniqueName('acked'), uniqueName('name')]
      const before = await proxy()
      const [first, second] = [
        bus({ host: before.host, port: before.port, url: undefined, handoverTimeoutMs: 100 }, { logger: silentLogger }),
        bus({ connectionName: name }),
      ]
      const { handled: ofFirst, open } = await ackedAboveSlow(topic, first)
      if (how === 'dies with') {
        before.refuse()
        before.cut()
      }
      const ofSecond: string[] = []
      second.consume(topic, ({ data }) => void ofSecond.push(String(data)))
      await second.start()
      await waitUntil(() => count(ofSecond, 'slow') > (how === 'dies with' ? 7 : 0), { timeoutMs: 10_000 })
      await breakReader(name)
      await publishMore(second, topic, 'new', ofFirst, ofSecond)
      open()
      assert.equal(count(ofSecond, 'quick'), 0, ofSecond.join())
      assert.equal(new Set(ofSecond).size, ofSecond.length, ofSecond.join())
    },
  )

  test('does not handle again what members without an order have acked', { timeout: 30_000 }, async () => {
    const [topic, name] = [uniqueName('mixed'), uniqueName('name')]
    const [ordered, other] = [
      bus({ connectionName: name }, { logger: silentLogger }),
      bus({}, { logger: silentLogger }),
    ]
    const handled: string[] = []
    const consumer = ordered.consume(topic, ({ data }) => void handled.push(String(data)))
    const unordered = other.consume(topic, ({ data }) => void handled.push(String(data)), { order: 'none' })
    await ordered.start()
    await publishMore(ordered, topic, 'first', handled)
    await other.start()
    consumer.pause()
    await waitUntil(async () => (await blocked(name)) === 0, { timeoutMs: 5_000 })
    for (let at = 0; at < 20; at++) await other.publish(topic, `old ${at}`, { key: `o${at}` })
    await waitUntil(() => count(handled, 'old') === 20, { timeoutMs: 5_000, describe: () => handled.join() })
    await waitUntil(() => unordered.stats().unsettled === 0, { timeoutMs: 5_000 })
    consumer.resume()
    await waitUntil(async () => (await blocked(name)) === 1, { timeoutMs: 5_000 })
    await breakReader(name)
    // It reads again when it has found what was in a lost reply.
    await waitUntil(async () => (await blocked(name)) === 1, { timeoutMs: 5_000 })
    assert.equal(count(handled, 'old'), 20, handled.join())
  })
})
