import assert from 'node:assert/strict'
import { headers } from '@nats-io/transport-node'
import { afterAll, beforeAll, describe, test } from 'vitest'
import { ConfigurationError, PublishError, UnsupportedError } from 'busbar'
import type { Bus } from 'busbar'
import { waitUntil } from 'busbar/testing'
import { nats } from 'busbar/nats'
import { startPrivate } from '../../tools/brokers/index.ts'
import type { NatsBroker } from '../../tools/brokers/index.ts'
import { makeBus, plainClient, record, streamName } from './nats-harness.ts'
import type { Api } from './nats-harness.ts'

let server: NatsBroker
beforeAll(async () => {
  server = await startPrivate('nats')
})
afterAll(() => server.stop())

/** A stream as another program makes it, and what publishes to it. */
async function foreignStream(more: object = {}): Promise<{
  readonly bind: string
  readonly api: Api
  readonly publish: (subject: string, body: unknown) => Promise<void>
  readonly bus: (options?: object) => Bus
}> {
  const bind = streamName().toUpperCase()
  const { client, api } = await plainClient(server)
  const { error } = await api(`STREAM.CREATE.${bind}`, {
    name: bind,
    subjects: [`${bind}.orders.>`],
    retention: 'limits',
    storage: 'file',
    num_replicas: 1,
    ...more,
  })
  assert.equal(error, undefined)
  return {
    bind,
    api,
    publish: async (subject, body) => {
      const answer = await client.request(`${bind}.${subject}`, JSON.stringify(body), { timeout: 5_000 })
      assert.equal(answer.json<{ error?: unknown }>().error, undefined)
    },
    bus: (options) => makeBus({ url: server.url, leaseMs: 1_000, stream: { bind }, ...options }),
  }
}

describe('a stream of other programs', () => {
  test('is read by its own subjects, in order, by one member at a time, and not changed', async () => {
    const { bind, api, publish, bus } = await foreignStream()
    const before = (await api(`STREAM.INFO.${bind}`))['config']
    for (let data = 0; data < 50; data++) await publish(`orders.placed`, data)
    const seen: number[] = []
    const [one, two] = [bus(), bus()]
    for (const each of [one, two]) {
      each.consume(`${bind}.orders.placed`, ({ data }) => void seen.push(Number(data)), { group: 'g', concurrency: 1 })
      await each.start()
    }
    await waitUntil(() => seen.length === 50, { describe: () => `${seen.length}` })
    assert.deepEqual(
      seen,
      Array.from({ length: 50 }, (_, at) => at),
    )
    const [group] = await one.admin().groups(`${bind}.orders.placed`)
    assert.deepEqual([group?.lag, group?.partitions?.length], [0, 1])
    // The other one goes on where this one was.
    await one.close()
    await publish('orders.placed', 50)
    await waitUntil(() => seen.length === 51)
    await two.close()
    assert.deepEqual((await api(`STREAM.INFO.${bind}`))['config'], before)
  })

  test('is read through patterns, by all members where no order is wanted', async () => {
    const { bind, publish, bus } = await foreignStream()
    const by: string[][] = [[], []]
    const release = Promise.withResolvers<void>()
    for (const seen of by) {
      const each = bus()
      const take = async ({ topic }: { readonly topic: string }): Promise<void> => {
        seen.push(topic.slice(bind.length + 1))
        await release.promise
      }
      each.consume(`${bind}.orders.>`, take, { group: 'g', order: 'none', prefetch: 4, concurrency: 2 })
      await each.start()
    }
    const kinds = Array.from({ length: 12 }, (_, at) => `orders.k${at + 10}`)
    for (const kind of kinds) await publish(kind, 1)
    await waitUntil(() => by.every((seen) => seen.length === 2), { describe: () => JSON.stringify(by) })
    release.resolve()
    await waitUntil(() => by.flat().length === 12)
    assert.deepEqual(by.flat().toSorted(), kinds)
  })

  test('takes messages of Busbar, with their keys; failed ones become dead letters, and come back to their group', async () => {
    const { bind, api, bus } = await foreignStream()
    const topic = `${bind}.orders.placed`
    const [first, second] = [bus(), bus()]
    let isBroken = true
    const seen: unknown[] = []
    first.consume(
      topic,
      ({ data, key }) => {
        if (isBroken && data === 1) throw new Error('no')
        seen.push([key, data])
      },
      { group: 'g', retry: { attempts: 1 } },
    )
    const others: unknown[] = []
    second.consume(topic, ({ data }) => void others.push(data), { group: 'h' })
    for (const each of [first, second]) await each.start()
    await first.publishMany(topic, [
      { data: 1, key: 'k' },
      { data: 2, key: 'k' },
    ])
    await waitUntil(() => seen.length === 1 && others.length === 2)
    const letters = first.deadLetters(topic, 'g')
    assert.equal((await letters.list()).length, 1)
    isBroken = false
    await letters.redrive()
    await waitUntil(() => seen.length === 2)
    assert.deepEqual(seen, [
      ['k', 2],
      ['k', 1],
    ])
    assert.deepEqual(others, [1, 2])
    const { state } = (await api(`STREAM.INFO.${bind}`)) as { state: { messages: number } }
    assert.equal(state.messages, 3)
  })

  test('is read as a mirror, too, which takes no messages', async () => {
    const { bind, api, publish } = await foreignStream()
    await publish('orders.placed', 1)
    const mirror = `${bind}-copy`
    const { error } = await api(`STREAM.CREATE.${mirror}`, { name: mirror, mirror: { name: bind }, storage: 'file' })
    assert.equal(error, undefined)
    const each = makeBus({ url: server.url, stream: { bind: mirror } })
    const seen: unknown[] = []
    each.consume(`${bind}.orders.placed`, ({ data }) => void seen.push(data), { group: 'g' })
    await each.start()
    await waitUntil(() => seen.length === 1)
    await assert.rejects(each.publish(`${bind}.orders.placed`, 2), (reason: unknown) => PublishError.is(reason))
  })

  test('headers of other programs arrive as headers', async () => {
    const { bind, bus } = await foreignStream()
    const { client } = await plainClient(server)
    const each = bus()
    const seen: unknown[] = []
    each.consume(`${bind}.orders.x`, ({ data, headers: found, id }) => void seen.push([data, found['kind'], id]), {
      group: 'g',
    })
    await each.start()
    const own = headers()
    own.set('kind', 'a')
    await client.request(`${bind}.orders.x`, '{"a":1}', { headers: own, timeout: 5_000 })
    await waitUntil(() => seen.length === 1)
    assert.deepEqual(seen, [[{ a: 1 }, 'a', `${bind}-1`]])
  })

  test('is not needed to keep messages: what it deletes before it was handled is reported as lost', async () => {
    const { bind, api, publish, bus } = await foreignStream({ max_msgs_per_subject: 10 })
    const topic = `${bind}.orders.last`
    const each = bus()
    const losses = record(each, 'loss')
    const seen: unknown[] = []
    const release = Promise.withResolvers<void>()
    each.consume(topic, async ({ data }) => (seen.push(data), await release.promise), {
      group: 'g',
      prefetch: 1,
      concurrency: 1,
    })
    await each.start()
    await publish('orders.last', 0)
    await waitUntil(() => seen.length === 1)
    for (let data = 1; data <= 8; data++) await publish('orders.last', data)
    // What is counted once, and deleted then, is missed.
    await waitUntil(async () => {
      const { state } = (await api(`STREAM.INFO.busbar-${bind}_state`, { subjects_filter: '>' })) as {
        state: { subjects?: object }
      }
      const [at] = Object.keys(state.subjects ?? {}).filter((subject) => subject.includes('-state.at.'))
      if (at === undefined) return false
      const { message } = (await api(`STREAM.MSG.GET.busbar-${bind}_state`, { last_by_subj: at })) as {
        message: { data: string }
      }
      return Buffer.from(message.data, 'base64').toString().includes('waiting')
    })
    await api(`STREAM.PURGE.${bind}`)
    release.resolve()
    await waitUntil(() => losses.length > 0, { timeoutMs: 15_000 })
  })
})

test('a stream that confirms nothing, or forgets ids early, can be read, with a warning', async () => {
  const { bind, bus } = await foreignStream({ no_ack: true, duplicate_window: 1_000_000_000 })
  const run = async (options: object): Promise<string[]> => {
    const each = bus(options)
    const warnings = record(each, 'warning')
    await each.start()
    return warnings.filter(({ code }) => code === 'nats-stream-drift').map(({ detail }) => detail)
  }
  const [noAck, window, ...others] = await run({})
  assert.match(noAck ?? '', /\(no_ack\): what you publish to it ends as unknown/)
  assert.match(window ?? '', /remembers ids for 1000 ms instead of 120000 ms/)
  assert.deepEqual(others, [])
  assert.deepEqual(await run({ stream: { bind, duplicateWindowMs: 1_000 } }), [noAck])
})

describe('what is refused of a stream of other programs', () => {
  const problems = async (started: Promise<unknown>): Promise<string[]> => {
    const error = await started.then(
      () => assert.fail('it was not refused'),
      (reason: unknown) => reason,
    )
    assert.ok(ConfigurationError.is(error), String(error))
    return error.problems.map(({ path }) => path)
  }

  test('one that is not there, or keeps messages for some readers only', async () => {
    assert.deepEqual(await problems(makeBus({ url: server.url, stream: { bind: 'NOT-THERE' } }).start()), [
      'stream.bind',
    ])
    for (const retention of ['interest', 'workqueue']) {
      const { bus } = await foreignStream({ retention })
      assert.deepEqual(await problems(bus().start()), ['retention'])
    }
    const { bus } = await foreignStream({ max_consumers: 1 })
    assert.deepEqual(await problems(bus().start()), ['max_consumers'])
  })

  test('topics that it does not store', async () => {
    const { bind, bus } = await foreignStream()
    const each = bus()
    await each.start()
    for (const topic of ['elsewhere', `${bind}.orders`, `${bind}.invoices.>`])
      assert.deepEqual(await problems(Promise.resolve(each.consume(topic, () => undefined).ready)), ['topic'])
    await assert.rejects(each.publish('elsewhere', 1), (error: unknown) => {
      assert.ok(PublishError.is(error), String(error))
      return error.outcome === 'not-sent' && /does not store "elsewhere"/.test(error.message)
    })
  })

  test('to delete what is theirs', async () => {
    const { bind, publish, bus } = await foreignStream()
    await publish('orders.placed', 1)
    const each = bus()
    await each.start()
    await assert.rejects(each.admin().purge(`${bind}.orders.placed`), (error: unknown) => UnsupportedError.is(error))
    assert.deepEqual(
      (await each.admin().topics()).map(({ topic, messages }) => [topic, messages]),
      [[`${bind}.orders.placed`, 1]],
    )
  })

  test('options that describe a stream of our own', () => {
    assert.throws(
      () =>
        nats({
          stream: { bind: 'ORDERS' },
          partitions: 4,
          retention: { maxAgeMs: 1_000, deadLetterMaxAgeMs: 1_000 },
          native: { stream: { deny_purge: true } },
        }),
      (error: unknown) => {
        assert.ok(ConfigurationError.is(error))
        assert.deepEqual(error.problems.map(({ path }) => path).toSorted(), [
          'native.stream',
          'partitions',
          'retention.maxAgeMs',
        ])
        return true
      },
    )
    assert.throws(() => nats({ jetstream: false, stream: { bind: 'ORDERS' } }), /stream\.bind/)
    assert.throws(() => nats({ stream: { bind: 'ORDERS.*' } }), /stream\.bind: must be the name of a stream/)
  })
})
