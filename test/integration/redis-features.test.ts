import assert from 'node:assert/strict'
import { describe, test } from 'vitest'
import { transportFromUrl } from 'busbar/url'
import { uniqueName, waitUntil } from 'busbar/testing'
import { redisHarness, streamOf } from './redis-harness.ts'

const QUICK = { retention: { maxMessages: 100_000 }, leaseMs: 1_500, pollIntervalMs: 50, checkServer: false } as const

// With 'everysec', a write that is confirmed while the disk is busy may stay in memory for 2 s, and a test kills the server.
const { broker, client, bus } = await redisHarness('features', QUICK, { args: ['--appendfsync', 'always'] })

describe('Redis: features', () => {
  test('the lag is exact with a backlog after the server was killed, and nothing is reported as lost that was not', async () => {
    const [topic, group] = [uniqueName('lag'), 'workers']
    const on = bus({ partitions: 1 })
    const losses: unknown[] = []
    on.events.on('loss', (event) => losses.push(event))
    let handled = 0
    const handle = on.consume(topic, () => void handled++, { group })
    await on.start()
    const publish = async (count: number): Promise<void> => {
      const results = await on.publishMany(
        topic,
        Array.from({ length: count }, (_, at) => ({ data: at })),
        { allowFailures: true },
      )
      for (const { error } of results) assert.equal(error, undefined)
    }
    const lag = async (): Promise<number | undefined> => (await on.admin().groups(topic))[0]?.lag
    await publish(300)
    await waitUntil(async () => handled === 300 && (await lag()) === 0, { timeoutMs: 5_000 })
    handle.pause()
    await publish(71)
    await broker.kill()
    await broker.restart()
    let seen: number | undefined
    await waitUntil(async () => (seen = await lag()) === 71, {
      timeoutMs: 10_000,
      describe: () => `the lag is ${seen}`,
    })
    handle.resume()
    await waitUntil(async () => handled === 371 && (await lag()) === 0, { timeoutMs: 10_000 })
    // Everything that was read goes, and is no loss; the count has been set right by then.
    await waitUntil(async () => (await client.hGet(`${streamOf(topic)}:group:${group}`, '0:counted')) !== null, {
      timeoutMs: 5_000,
    })
    await client.xTrim(streamOf(topic), 'MAXLEN', 0)
    handle.pause()
    await publish(5)
    assert.equal(await lag(), 5)
    handle.resume()
    await waitUntil(() => handled === 376, { timeoutMs: 5_000 })
    assert.deepEqual(losses, [])
  })

  test('a long backlog is counted in steps on a server whose own count is not to be believed', async () => {
    const [topic, group] = [uniqueName('lag'), 'workers']
    const on = bus({ partitions: 1 })
    await on.start()
    const items = Array.from({ length: 1_000 }, (_, at) => ({ data: at }))
    for (let round = 0; round < 12; round++) await on.publishMany(topic, items)
    await client.xGroupCreate(streamOf(topic), group, '0')
    assert.equal((await on.admin().groups(topic))[0]?.lag, 12_000)
  })

  test('foreign programs: plain XADD is consumed, plain XREADGROUP reads ours, each in a separate group', async () => {
    const topic = uniqueName('foreign')
    const on = bus()
    const handled: unknown[] = []
    on.consume(topic, ({ data, headers }) => void handled.push([data, headers['source-app'] ?? null]))
    await on.start()
    await client.xAdd(streamOf(topic), '*', { data: '{"n":1}', 'source-app': 'shell' })
    await client.xAdd(streamOf(topic, 3), '*', { user: 'ada', action: 'login' })
    await waitUntil(() => handled.length === 2, { timeoutMs: 5_000, describe: () => JSON.stringify(handled) })
    assert.deepEqual(
      new Set(handled.map((entry) => JSON.stringify(entry))),
      new Set(['[{"n":1},"shell"]', '[{"user":"ada","action":"login"},null]']),
    )
    const { id } = await on.publish(topic, { n: 2 }, { key: 'k', headers: { colour: 'blue' } })
    const found = await Promise.all(
      Array.from({ length: 8 }, async (_, partition) => {
        const stream = streamOf(topic, partition)
        await client.xGroupCreate(stream, 'plain', '0').catch(() => {})
        const reply = (await client.xReadGroup('plain', 'one', { key: stream, id: '>' })) as
          { messages: { id: string; message: Record<string, string> }[] }[] | null
        return reply?.flatMap(({ messages }) => messages.map(({ message }) => message)) ?? []
      }),
    )
    const ours = found.flat().find(({ ce }) => ce !== undefined) ?? assert.fail('our message is there')
    const envelope = JSON.parse(ours['ce'] ?? '') as Record<string, unknown>
    assert.deepEqual(envelope, { busbar: '1', source: 'features', id, partitionkey: 'k', headers: { colour: 'blue' } })
    assert.equal(ours['data'], '{"n":2}')
    await waitUntil(() => handled.length === 3, { timeoutMs: 5_000 })
  })

  test("envelope 'cloudevents': each CloudEvents attribute is a field, which other programs understand", async () => {
    const topic = uniqueName('fields')
    const [writer, reader] = [bus({ envelope: 'cloudevents' }), bus()]
    const handled: unknown[] = []
    reader.consume(topic, ({ id, data, key, headers }) => void handled.push({ id, data, key, headers: { ...headers } }))
    await reader.start()
    await writer.start()
    const { id } = await writer.publish(topic, { n: 1 }, { key: 'k', headers: { colour: 'blau, grün' } })
    await waitUntil(() => handled.length === 1, { timeoutMs: 5_000 })
    assert.deepEqual(handled, [{ id, data: { n: 1 }, key: 'k', headers: { colour: 'blau, grün' } }])
  })

  test('partitions: of the options for new topics, of the first who made it for all others', async () => {
    const topic = uniqueName('parts')
    const first = bus({ partitions: { [topic]: 3, '*': 2 } })
    await first.start()
    await first.publish(topic, 1)
    await first.publish(`${topic}.other`, 1)
    const second = bus({ partitions: 20 })
    await second.start()
    const handled: unknown[] = []
    await second.consume(topic, ({ data }) => void handled.push(data)).ready
    await waitUntil(() => handled.length === 1, { timeoutMs: 5_000 })
    assert.deepEqual(await client.hmGet('busbar:topics', [topic, `${topic}.other`]), ['3', '2'])
    await assert.rejects(second.consume(topic, () => {}, { group: 'strict', order: 'strict' }).ready, /partitions:/)
  })

  test('a group whose members do not agree on order is warned of', async () => {
    const topic = uniqueName('mixed')
    const [one, two] = [bus(), bus()]
    const codes: string[] = []
    two.events.on('warning', ({ code }) => codes.push(code))
    await one.start()
    await two.start()
    await one.consume(topic, () => {}).ready
    await two.consume(topic, () => {}, { order: 'none' }).ready
    await waitUntil(() => codes.includes('redis-mixed-order'), { timeoutMs: 5_000 })
  })

  test('a separate database and prefix; native options reach the client', async () => {
    const topic = uniqueName('database')
    const on = bus({ url: `${broker.url}/3`, prefix: 'shop:', native: { name: 'busbar-native' } })
    const handled: unknown[] = []
    on.consume(topic, ({ data }) => void handled.push(data))
    await on.start()
    await on.publish(topic, 1)
    await waitUntil(() => handled.length === 1, { timeoutMs: 5_000 })
    const names = (await client.clientList()).map(({ name }) => name)
    assert.ok(names.includes('busbar-native'), names.join())
    const other = await client.duplicate({ database: 3 }).connect()
    assert.equal(await other.hGet('shop:topics', topic), '8')
    other.destroy()
  })

  test('the name of the connection is in the list of the server, for commands and for reads', async () => {
    const on = bus({ connectionName: 'shop' })
    on.consume(uniqueName('name'), () => {})
    await on.start()
    assert.equal((await client.clientList()).filter(({ name }) => name === 'shop').length, 2)
  })

  test('by URL: options as parameters; a bare URL is enough', async () => {
    const transport = await transportFromUrl(`${broker.url}?retention.maxMessages=1000&partitions=2`)
    const on = bus({}, { transport })
    await on.start()
    const topic = uniqueName('url')
    await on.publish(topic, 1)
    assert.equal(await client.hGet('busbar:topics', topic), '2')
    const bare = bus({}, { transport: await transportFromUrl(broker.url) })
    const handled: unknown[] = []
    bare.consume(topic, ({ data }) => void handled.push(data))
    await bare.start()
    await bare.publish(topic, 2)
    await waitUntil(() => handled.includes(2), { timeoutMs: 5_000 })
  })

  test('a pattern over more streams than credit: one read for each message, and all is handled', async () => {
    const base = uniqueName('many')
    const on = bus({ retention: { maxMessages: 1_000 } })
    await on.start()
    const topics = Array.from({ length: 60 }, (_, at) => `${base}.t${at}`)
    await Promise.all(topics.map((topic) => on.publish(topic, 'first')))
    const handled: unknown[] = []
    await on.consume(`${base}.>`, ({ data }) => void handled.push(data), { from: 'earliest', prefetch: 32 }).ready
    await waitUntil(() => handled.length === 60, { timeoutMs: 20_000, describe: () => `${handled.length} of 60` })
    const reads = async (): Promise<number> =>
      Number(/cmdstat_xreadgroup:calls=(\d+)/.exec(await client.info('commandstats'))?.[1] ?? 0)
    const before = await reads()
    for (const [at, topic] of topics.entries()) {
      await on.publish(topic, at)
      await waitUntil(() => handled.includes(at), { timeoutMs: 5_000 })
    }
    const perMessage = ((await reads()) - before) / topics.length
    assert.ok(perMessage < 4, `${perMessage.toFixed(1)} reads for each message`)
    // A backlog everywhere, for little credit.
    for (let round = 0; round < 5; round++)
      await Promise.all(topics.map((topic) => on.publish(topic, `backlog ${round}`)))
    await waitUntil(() => handled.length === 420, { timeoutMs: 20_000, describe: () => `${handled.length} of 420` })
  })

  test("order 'none' over more streams than credit: a backlog is handled, each message once", async () => {
    const base = uniqueName('none')
    const on = bus({ retention: { maxMessages: 1_000 } })
    await on.start()
    const topics = Array.from({ length: 10 }, (_, at) => `${base}.t${at}`)
    for (let round = 0; round < 10; round++)
      await Promise.all(topics.map((topic) => on.publish(topic, `${topic} ${round}`, { key: `k${round}` })))
    const handled: unknown[] = []
    await on.consume(`${base}.>`, ({ data }) => void handled.push(data), {
      from: 'earliest',
      order: 'none',
      concurrency: 4,
      prefetch: 8,
    }).ready
    await waitUntil(() => handled.length >= 100, { timeoutMs: 20_000, describe: () => `${handled.length} of 100` })
    await waitUntil(
      async () => (await on.admin().groups()).every(({ topic, lag }) => !topic.startsWith(base) || lag === 0),
      {
        timeoutMs: 10_000,
      },
    )
    assert.equal(new Set(handled).size, handled.length)
  })

  test('keys of another layout are refused by name, and left alone', async () => {
    const prefix = `${uniqueName('layout')}:`
    const first = bus({ prefix })
    await first.start()
    assert.equal(await client.get(`${prefix}layout`), '2')
    await first.close()
    await client.set(`${prefix}layout`, '0')
    await assert.rejects(bus({ prefix }).start({ timeoutMs: 0 }), {
      code: 'BUSBAR_CONFIGURATION',
      message: new RegExp(`have layout "0", and this version of Busbar uses layout "2"`),
    })
    assert.deepEqual(await client.keys(`${prefix}*`), [`${prefix}layout`])
  })

  test('the keys of a topic and a group are few', async () => {
    const prefix = `${uniqueName('keys')}:`
    const on = bus({ prefix })
    on.consume('few.keys', () => {})
    await on.start()
    await waitUntil(async () => (await client.keys(`${prefix}{few.keys*`)).length === 10, { timeoutMs: 5_000 })
    assert.deepEqual((await client.keys(`${prefix}*`)).filter((key) => !key.includes('{')).toSorted(), [
      `${prefix}layout`,
      `${prefix}leases`,
      `${prefix}notices`,
      `${prefix}topics`,
    ])
  })

  test('a number of partitions that differs causes a warning, and every partition that is written to is read', async () => {
    const topic = uniqueName('grown')
    const [reader, codes] = [bus({ partitions: 2 }), [] as string[]]
    const other = bus({ partitions: 5 })
    for (const one of [reader, other]) one.events.on('warning', ({ code }) => codes.push(code))
    const handled = new Set<unknown>()
    reader.consume(topic, ({ data }) => void handled.add(data))
    await reader.start()
    await other.start()
    await other.publish(topic, 'by the number that is stored', { key: 'a' })
    assert.deepEqual(codes, ['redis-partitions'])
    // An operator means well.
    await client.hSet('busbar:topics', topic, '6')
    const third = bus()
    await third.start()
    await third.publishMany(
      topic,
      Array.from({ length: 60 }, (_, data) => ({ data, key: `k${data}` })),
    )
    await waitUntil(() => handled.size === 61, { timeoutMs: 10_000, describe: () => `${handled.size} of 61` })
    assert.deepEqual(codes, ['redis-partitions', 'redis-partitions'])
    // The list is lost, and made again with another number.
    await client.hSet('busbar:topics', topic, '3')
    const fourth = bus()
    await fourth.start()
    const seen = new Set<unknown>()
    fourth.consume(topic, ({ data }) => void seen.add(data), { group: 'features' })
    await reader.close()
    await third.publishMany(
      topic,
      Array.from({ length: 60 }, (_, at) => ({ data: `late ${at}`, key: `k${at}` })),
    )
    await waitUntil(() => seen.size + [...handled].filter((data) => String(data).startsWith('late')).length >= 60, {
      timeoutMs: 10_000,
      describe: () => `${seen.size} of 60`,
    })
  })

  test('seek with a hundred thousand pending entries does not hold the server up', async () => {
    const topic = uniqueName('pending')
    const on = bus({ partitions: 1 })
    await on.start()
    const stream = streamOf(topic)
    await on.publish(topic, 0)
    await client.eval(`for i = 1, 100000 do redis.call('XADD', KEYS[1], '*', 'data', i) end`, { keys: [stream] })
    await client.xGroupCreate(stream, 'g', '0')
    await client.eval(
      `redis.call('XREADGROUP', 'GROUP', 'g', 'one', 'COUNT', 200000, 'STREAMS', KEYS[1], '>') return 1`,
      {
        keys: [stream],
      },
    )
    assert.equal((await client.xPending(stream, 'g')).pending, 100_001)
    await client.sendCommand(['CONFIG', 'RESETSTAT'])
    await on.admin().seek(topic, 'g', 'latest')
    assert.equal((await client.xPending(stream, 'g')).pending, 0)
    const commands = await client.info('commandstats')
    assert.ok(!/cmdstat_xack/.test(commands), 'one step for a consumer, and not one for each entry')
  })
  test('of many groups, the one that is asked for alone is looked at', async () => {
    const topic = uniqueName('groups')
    const on = bus({ partitions: 1 })
    for (const group of ['a', 'b', 'c']) on.consume(topic, () => {}, { group })
    await on.start()
    assert.equal((await on.admin().groups(topic)).length, 3)
    assert.deepEqual(
      (await on.admin().groups(topic, 'b')).map(({ group, members }) => [group, members]),
      [['b', 1]],
    )
    assert.deepEqual(await on.admin().groups(topic, 'd'), [])
  })
})
