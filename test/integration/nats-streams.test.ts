import assert from 'node:assert/strict'
import { afterAll, beforeAll, describe, test } from 'vitest'
import { AuthorizationError, ConfigurationError } from 'busbar'
import { uniqueName, waitUntil } from 'busbar/testing'
import { startPrivate } from '../../tools/brokers/index.ts'
import type { NatsBroker } from '../../tools/brokers/index.ts'
import { RawConsumer } from '../../src/testing/conformance/raw.ts'
import type { Bus } from 'busbar'
import { makeBus, onEnd, openTransport, plainClient, record, startServer, streamName } from './nats-harness.ts'

let server: NatsBroker
beforeAll(async () => {
  server = await startPrivate('nats')
})
afterAll(() => server.stop())

const config = (name: string, more: object = {}): object => ({
  name,
  subjects: [`${name}.any.>`, ...Array.from({ length: 8 }, (_, at) => `${name}.${at}.>`)],
  retention: 'limits',
  storage: 'file',
  num_replicas: 1,
  ...more,
})

describe('streams that are there already', () => {
  const voiding: readonly (readonly [field: string, settings: object])[] = [
    ['retention', { retention: 'interest' }],
    ['retention', { retention: 'workqueue' }],
    ['max_msgs_per_subject', { max_msgs_per_subject: 1 }],
    ['no_ack', { no_ack: true }],
    ['max_consumers', { max_consumers: 1 }],
    ['max_age', { max_age: 60_000_000_000 }],
    ['deny_delete', { deny_delete: true }],
    ['deny_purge', { deny_purge: true }],
  ]
  for (const [field, settings] of voiding)
    test(`${JSON.stringify(settings)} is refused by name`, async () => {
      const name = streamName()
      const { api } = await plainClient(server)
      const made = await api(`STREAM.CREATE.${name}`, config(name, settings))
      assert.equal(made['error'], undefined)
      const bus = makeBus({ url: server.url, stream: { name }, retention: { maxAgeMs: 3_600_000 } })
      await assert.rejects(bus.start(), (error: unknown) => {
        assert.ok(ConfigurationError.is(error), String(error))
        assert.deepEqual(
          error.problems.map(({ path }) => path),
          [field],
        )
        assert.match(error.message, new RegExp(name))
        return true
      })
    })

  for (const [field, settings] of [
    ['max_age', { max_age: 60_000_000_000 }],
    ['discard', { max_bytes: 1_000_000 }],
    ['discard', { max_msgs: 1_000 }],
  ] as const)
    test(`records with ${JSON.stringify(settings)} are refused by name: positions would be deleted`, async () => {
      const name = streamName()
      const { api } = await plainClient(server)
      const state = { subjects: [`${name}-state.>`], max_msgs_per_subject: 1, allow_direct: true, discard: 'old' }
      const made = await api(`STREAM.CREATE.${name}_state`, config(`${name}_state`, { ...state, ...settings }))
      assert.equal(made['error'], undefined)
      await assert.rejects(makeBus({ url: server.url, stream: { name } }).start(), (error: unknown) => {
        assert.ok(ConfigurationError.is(error), String(error))
        assert.deepEqual(
          error.problems.map(({ path }) => path),
          [field],
        )
        return true
      })
    })

  test('a sealed stream, and a stream of dead letters that deletes the oldest, are refused', async () => {
    const name = streamName()
    const { api } = await plainClient(server)
    await api(`STREAM.CREATE.${name}_dlq`, {
      ...config(`${name}_dlq`),
      subjects: [`${name}-dlq.>`],
      max_msgs: 10,
      discard: 'old',
    })
    await assert.rejects(
      makeBus({ url: server.url, stream: { name } }).start(),
      /discard: .*dead letters would be deleted/,
    )
    const sealed = streamName()
    await api(`STREAM.CREATE.${sealed}`, config(sealed))
    await api(
      `STREAM.UPDATE.${sealed}`,
      config(sealed, { sealed: true, deny_delete: true, deny_purge: true, discard: 'new' }),
    )
    await assert.rejects(makeBus({ url: server.url, stream: { name: sealed } }).start(), /sealed: /)
  })

  test('a setting that the user asked for natively is his own risk', async () => {
    const name = streamName()
    const bus = makeBus({ url: server.url, stream: { name }, native: { stream: { deny_delete: true } } })
    await bus.start()
    await makeBus({ url: server.url, stream: { name }, native: { stream: { deny_delete: true } } }).start()
    await assert.rejects(makeBus({ url: server.url, stream: { name } }).start(), /deny_delete/)
  })

  test('limits on consumers refuse the group as a whole, and leave no half of it behind', async () => {
    const name = streamName()
    const { api } = await plainClient(server)
    await api(`STREAM.CREATE.${name}`, config(name, { max_consumers: 3 }))
    const first = makeBus({ url: server.url, stream: { name } })
    first.consume('a', () => undefined, { group: 'one' })
    await first.start()
    const second = makeBus({ url: server.url, stream: { name } })
    second.consume('a', () => undefined, { group: 'two' })
    await assert.rejects(
      second.start(),
      (error: unknown) => ConfigurationError.is(error) && /max_consumers/.test(error.message),
    )
    const { total } = (await api(`CONSUMER.NAMES.${name}`)) as { total: number }
    assert.equal(total, 2)
  })

  test('a stream whose subjects are in the way is named', async () => {
    const name = streamName()
    const { api } = await plainClient(server)
    await api(`STREAM.CREATE.other-${name}`, { ...config(name), name: `other-${name}`, subjects: [`${name}.>`] })
    await assert.rejects(makeBus({ url: server.url, stream: { name } }).start(), (error: unknown) => {
      assert.ok(ConfigurationError.is(error), String(error))
      assert.match(error.message, new RegExp(`"other-${name}"`))
      return true
    })
  })

  test('what is published under the prefix and has no reader is refused, not stored', async () => {
    const name = streamName()
    const { client, api } = await plainClient(server)
    const bus = makeBus({ url: server.url, stream: { name } })
    const seen: unknown[] = []
    bus.consume('orders.placed', ({ data }) => void seen.push(data), { order: 'strict' })
    await bus.start()
    for (const subject of [`${name}.orders.placed`, `${name}.12.orders.placed`, `${name}.x.orders.placed`])
      await assert.rejects(client.request(subject, '{}', { timeout: 1_000 }), /no responders/i)
    await client.request(`${name}.any.orders.placed`, '"any"')
    await client.request(`${name}.3.orders.placed`, '"3"')
    await waitUntil(() => seen.length === 2)
    const { state } = (await api(`STREAM.INFO.${name}`)) as { state: { messages: number } }
    assert.equal(state.messages, 2)
  })

  test('a stream that stores the whole prefix is used, with a warning', async () => {
    const name = streamName()
    const { api } = await plainClient(server)
    await api(`STREAM.CREATE.${name}`, { ...config(name), subjects: [`${name}.>`] })
    const bus = makeBus({ url: server.url, stream: { name } })
    const warnings = record(bus, 'warning')
    await bus.start()
    assert.match(warnings.find(({ code }) => code === 'nats-stream-drift')?.detail ?? '', /what no consumer reads/)
  })

  test('streams that keep messages for less than the default are used, with a warning; what was asked for causes none', async () => {
    const name = streamName()
    const { api } = await plainClient(server)
    const [hourNs, hourMs] = [3_600_000_000_000, 3_600_000]
    await api(`STREAM.CREATE.${name}`, config(name, { max_age: hourNs }))
    await api(`STREAM.CREATE.${name}_dlq`, {
      ...config(`${name}_dlq`, { max_age: hourNs }),
      subjects: [`${name}-dlq.>`],
    })
    const warned = async (retention: object): Promise<readonly string[]> => {
      const bus = makeBus({ url: server.url, stream: { name }, retention })
      const warnings = record(bus, 'warning')
      await bus.start()
      return warnings.filter(({ code }) => code === 'nats-stream-drift').map(({ detail }) => detail)
    }
    const [messages, deadLetters, ...more] = await warned({})
    assert.match(messages ?? '', new RegExp(`"${name}" .* 3600000 ms.* default \\(604800000 ms\\).*retention.maxAgeMs`))
    assert.match(deadLetters ?? '', new RegExp(`"${name}_dlq" .* 3600000 ms.* default \\(never\\).*deadLetterMaxAgeMs`))
    assert.deepEqual(more, [])
    assert.deepEqual(await warned({ maxAgeMs: hourMs, deadLetterMaxAgeMs: hourMs }), [])
  })

  test('the number of partitions outlives the loss of the stream of records', async () => {
    const name = streamName()
    const { api } = await plainClient(server)
    await makeBus({ url: server.url, stream: { name }, partitions: 3 }).start()
    await api(`STREAM.DELETE.${name}_state`)
    await makeBus({ url: server.url, stream: { name } }).start()
    const { config: found } = (await api(`STREAM.INFO.${name}`)) as { config: { subjects: string[] } }
    assert.equal(found.subjects.length, 4)
    const { message } = (await api(`STREAM.MSG.GET.${name}_state`, { last_by_subj: `${name}-state.partitions` })) as {
      message: { data: string }
    }
    assert.equal(Buffer.from(message.data, 'base64').toString(), '3')
  })
})

describe('permissions', () => {
  test('a user that may not write leases is refused by name when the bus starts', { timeout: 20_000 }, async () => {
    const guarded = await startServer(
      'authorization { users: [ { user: all, password: x }, { user: some, password: x, permissions: { publish: { deny: "busbar-lease.>" } } } ] }',
    )
    const at = `${guarded.host}:${guarded.port}`
    const bus = makeBus({ url: `nats://${at}`, username: 'some', password: 'x' })
    await assert.rejects(bus.start(), (error: unknown) => {
      assert.ok(AuthorizationError.is(error), String(error))
      assert.match(error.message, /busbar-lease\.>/)
      return true
    })
    const allowed = makeBus({ url: `nats://${at}`, username: 'all', password: 'x' })
    await allowed.start()
  })
})

describe('groups whose consumers were deleted while no member was there', () => {
  for (const from of ['latest', 'earliest'] as const)
    test(`a group that began at ${from} continues where it was, and says so`, { timeout: 20_000 }, async () => {
      const name = streamName()
      const topic = uniqueName('gone')
      const { api } = await plainClient(server)
      const publisher = makeBus({ url: server.url, stream: { name } })
      await publisher.start()
      const run = async (): Promise<{ seen: unknown[]; warnings: string[]; end: () => Promise<void> }> => {
        const bus = makeBus({ url: server.url, stream: { name } })
        const seen: unknown[] = []
        const warnings: string[] = []
        bus.events.on('warning', ({ code }) => void warnings.push(code))
        bus.consume(topic, ({ data }) => void seen.push(data), { group: 'g', from })
        await bus.start()
        return { seen, warnings, end: () => bus.close() }
      }
      const publish = (first: number): Promise<unknown> =>
        publisher.publishMany(
          topic,
          Array.from({ length: 20 }, (_, at) => ({ data: first + at, key: at % 4 === 0 ? undefined : `k${at % 7}` })),
        )
      const before = await run()
      await publish(0)
      await waitUntil(() => before.seen.length === 20)
      await before.end()
      const { consumers } = (await api(`CONSUMER.NAMES.${name}`)) as { consumers: string[] }
      // Those of the members are gone with them.
      assert.deepEqual(
        consumers.map((consumer) => consumer.endsWith('--any')),
        [true],
      )
      for (const consumer of consumers) await api(`CONSUMER.DELETE.${name}.${consumer}`)
      await publish(20)
      const after = await run()
      await waitUntil(() => after.seen.length >= 20)
      assert.ok(after.warnings.includes('nats-consumer-recreated'))
      await publish(40)
      await waitUntil(() => after.seen.length >= 40)
      assert.deepEqual(
        after.seen.map(Number).toSorted((a, b) => a - b),
        Array.from({ length: 40 }, (_, at) => 20 + at),
      )
    })

  test('a group that was deleted begins again', async () => {
    const name = streamName()
    const topic = uniqueName('deleted')
    const first = makeBus({ url: server.url, stream: { name } })
    let count = 0
    first.consume(topic, () => void count++, { group: 'g', from: 'earliest' })
    await first.start()
    await first.publishMany(topic, [{ data: 1 }, { data: 2, key: 'k' }])
    await waitUntil(() => count === 2)
    await first.close()
    const admin = makeBus({ url: server.url, stream: { name } })
    await admin.start()
    await admin.admin().deleteGroup(topic, 'g')
    admin.consume(topic, () => void count++, { group: 'g', from: 'earliest' })
    await waitUntil(() => count === 4)
  })

  test('a stream that lets consumers expire is reported, and read, with all its keys', async () => {
    const name = streamName()
    const { api } = await plainClient(server)
    await api(`STREAM.CREATE.${name}`, config(name, { consumer_limits: { inactive_threshold: 2_000_000_000 } }))
    const bus = makeBus({ url: server.url, stream: { name } })
    const warnings = record(bus, 'warning')
    const seen: unknown[] = []
    bus.consume('a', ({ data }) => void seen.push(data), { retry: { attempts: 1 } })
    bus.consume('b', () => Promise.reject(new Error('no')), { retry: { attempts: 1 } })
    await bus.start()
    await bus.publishMany('a', [{ data: 1, key: 'k' }, { data: 2 }])
    await bus.publish('b', 3)
    await waitUntil(() => seen.length === 2)
    await waitUntil(async () => (await bus.deadLetters('b', 'test').list()).length === 1)
    assert.match(warnings.find(({ code }) => code === 'nats-consumer-expires')?.detail ?? '', /2000 ms/)
  })
})

describe('a group that is deleted under its members', () => {
  test('is made again where it was', async () => {
    const name = streamName()
    const topic = uniqueName('live')
    const bus = makeBus({ url: server.url, stream: { name } })
    const seen: unknown[] = []
    bus.consume(topic, ({ data }) => void seen.push(data), { group: 'g', from: 'latest' })
    await bus.start()
    onEnd(() => bus.close({ timeoutMs: 500 }))
    await bus.publishMany(topic, [{ data: 1 }, { data: 2, key: 'k' }])
    await waitUntil(() => seen.length === 2)
    await bus.admin().deleteGroup(topic, 'g')
    await bus.publishMany(topic, [{ data: 3 }, { data: 4, key: 'k' }, { data: 5, key: 'l' }])
    await waitUntil(() => new Set(seen).size === 5)
  })

  test(
    'records and leases whose streams were deleted are made again, and the group continues',
    { timeout: 30_000 },
    async () => {
      const name = streamName()
      const topic = uniqueName('records')
      const { api } = await plainClient(server)
      const [one, two] = [0, 1].map(() => makeBus({ url: server.url, leaseMs: 1_000, stream: { name } })) as [Bus, Bus]
      const seen: unknown[] = []
      for (const bus of [one, two]) {
        bus.consume(topic, ({ data }) => void seen.push(data), { group: 'g' })
        await bus.start()
      }
      await api(`STREAM.DELETE.${name}_leases`)
      await api(`STREAM.DELETE.${name}_state`)
      const known = async (): Promise<number> => {
        const { state } = (await api(`STREAM.INFO.${name}_state`, { subjects_filter: `${name}-state.at.*.*` })) as {
          state?: { subjects?: Record<string, number> }
        }
        return Object.keys(state?.subjects ?? {}).length
      }
      await one.publishMany(
        topic,
        Array.from({ length: 40 }, (_, data) => ({ data, key: `k${data}` })),
      )
      await waitUntil(() => seen.length === 40, { describe: () => `${seen.length} handled` })
      await waitUntil(async () => (await known()) === 8, { describe: known })
      assert.equal((await one.health()).status, 'ok')
    },
  )

  test('a consumer that can not be made again shows in health', { timeout: 30_000 }, async () => {
    const name = streamName()
    const topic = uniqueName('trouble')
    const { api } = await plainClient(server)
    const { transport } = await openTransport({ url: server.url, leaseMs: 1_000, stream: { name } })
    const raw = await new RawConsumer(10_000).subscribe(transport, { topic, group: 'g', order: 'key' })
    onEnd(() => raw.close())
    raw.request(10)
    const { config: made } = (await api(`STREAM.INFO.${name}`)) as { config: object }
    const { consumers } = (await api(`CONSUMER.NAMES.${name}`)) as { consumers: string[] }
    for (const consumer of consumers) await api(`CONSUMER.DELETE.${name}.${consumer}`)
    await api(`CONSUMER.CREATE.${name}.other.${name}.any.x`, {
      stream_name: name,
      config: { name: 'other', durable_name: 'other', ack_policy: 'explicit', filter_subject: `${name}.any.x` },
    })
    await api(`STREAM.UPDATE.${name}`, { ...made, max_consumers: 1 })
    const trouble = (): string => raw.subscription.state?.().trouble ?? ''
    const { config: now } = (await api(`STREAM.INFO.${name}`)) as { config: { max_consumers: number } }
    const { consumers: left } = (await api(`CONSUMER.NAMES.${name}`)) as { consumers: string[] }
    // The server lets the limit be lowered or not, and all consumers may have been made again before that.
    if (now.max_consumers === 1 && left.length <= consumers.length)
      await waitUntil(() => /max_consumers|maximum consumers/.test(trouble()), { describe: trouble })
    await waitUntil(async () => (await api(`STREAM.UPDATE.${name}`, made))['error'] === undefined)
    await waitUntil(() => trouble() === '', { timeoutMs: 15_000, describe: trouble })
  })
})
