import assert from 'node:assert/strict'
import { connect, headers as makeHeaders } from '@nats-io/transport-node'
import type { NatsConnection } from '@nats-io/transport-node'
import { afterAll, afterEach, beforeAll, describe, test } from 'vitest'
import { ConfigurationError, createBus, PublishError, UnsupportedError } from 'busbar'
import type { Bus, BusEventMap, BusOptions } from 'busbar'
import { tcpProxy, uniqueName, waitUntil } from 'busbar/testing'
import { nats } from 'busbar/nats'
import type { NatsOptions, NatsTransport } from 'busbar/nats'
import { openRaw } from '../../src/testing/conformance/context.ts'
import { outgoing } from '../../src/testing/conformance/raw.ts'
import { transportFromUrl } from 'busbar/url'
import { startPrivate } from '../../tools/brokers/index.ts'
import type { NatsBroker } from '../../tools/brokers/index.ts'

let server: NatsBroker
let plain: NatsConnection
const cleanUps: (() => unknown)[] = []

beforeAll(async () => {
  // A program that knows nothing of us publishes to `raw.<key>`; the server spreads it like our keys.
  server = await startPrivate('nats', {
    config: 'mappings = { "raw.*": "mapped.{{partition(4,1)}}.orders" }',
  })
  plain = await connect({ servers: `${server.host}:${server.port}` })
  plain.subscribe('taken', { callback: () => {} })
})
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp()
})
afterAll(async () => {
  await plain.close()
  await server.stop()
})

function makeBus(options: NatsOptions = {}, more: Partial<BusOptions> = {}): Bus {
  const bus = createBus({ service: 'features', transport: nats({ url: server.url, ...options }), ...more })
  cleanUps.push(() => bus.close({ timeoutMs: 1_000 }))
  return bus
}

function record<Name extends keyof BusEventMap>(bus: Bus, name: Name): BusEventMap[Name][] {
  const seen: BusEventMap[Name][] = []
  bus.events.on(name, (event) => void seen.push(event))
  return seen
}

/** A stream of its own for each test that cares about limits. */
const stream = (): string => uniqueName('s').replaceAll('.', '-')

async function api(subject: string, body: object = {}): Promise<Record<string, unknown>> {
  return (await plain.request(`$JS.API.${subject}`, JSON.stringify(body))).json()
}

describe('options of nats()', () => {
  test('all problems are reported at once, and none shows the URL', () => {
    assert.throws(
      () =>
        nats({
          url: 'nats://alice:s3cret@host:4222/path',
          token: 'x',
          nkeySeed: 'y',
          partitions: 0,
          leasMs: 5,
        } as NatsOptions),
      (error: unknown) => {
        assert.ok(ConfigurationError.is(error))
        for (const part of ['url', 'exclude each other', 'partitions', 'did you mean "leaseMs"'])
          assert.match(error.message, new RegExp(part))
        assert.doesNotMatch(error.message, /s3cret/)
        return true
      },
    )
    assert.throws(() => nats({ jetstream: false, leaseMs: 5_000 }), /leaseMs.*core NATS/)
    assert.throws(() => nats({ maxCoreBacklog: 5 }), /maxCoreBacklog.*jetstream: false/)
    assert.throws(() => nats({ jwt: 'x' }), /nkeySeed/)
  })

  test('parameters of the URL are options; what stands beside the URL wins', async () => {
    const core = await transportFromUrl(`${server.url}?jetstream=false&maxCoreBacklog=10`)
    assert.equal(core.capabilities.durable, false)
    const transport = nats({ url: `${server.url}?maxMessageBytes=2048&stream.name=a`, maxMessageBytes: 4_096 })
    assert.equal(transport.capabilities.maxMessageBytes, 4_096)
    await assert.rejects(transportFromUrl(`${server.url}?password=secret`), (error: Error) => {
      assert.match(error.message, /"password", which belongs before the question mark/)
      return !error.message.includes('secret')
    })
    await assert.rejects(transportFromUrl(`${server.url}?retention.maxAge=3`), /did you mean "maxAgeMs"/)
    await assert.rejects(transportFromUrl('nats://a%zz:b@host'), /%25/)
  })

  test('several servers: the first that answers is taken', async () => {
    const bus = makeBus({ url: `nats://127.0.0.1:1,${server.host}:${server.port}` })
    await bus.start()
    assert.equal((await bus.health()).status, 'ok')
  })

  test('a server without JetStream is refused by name, and core NATS works on it', async () => {
    const bare = await startPrivate('nats', { jetStream: false })
    cleanUps.push(() => bare.stop())
    await assert.rejects(makeBus({ url: bare.url }).start(), (error: unknown) => {
      assert.ok(UnsupportedError.is(error))
      assert.match(error.message, /-js.*jetstream: false/)
      return true
    })
    await makeBus({ url: bare.url, jetstream: false }).start()
  })

  test('core NATS: what it can not do is refused at start, by name', () => {
    const bus = makeBus({ jetstream: false })
    const handler = (): void => {}
    assert.throws(() => bus.consume('a', handler), /keeps no order/)
    assert.throws(() => bus.consume('a', handler, { order: 'none', retry: { mode: 'delayed' } }), UnsupportedError.is)
  })
})

describe('a connection of the user', () => {
  test('is used and left open', async () => {
    const connection = await connect({ servers: `${server.host}:${server.port}` })
    cleanUps.push(() => connection.close())
    const topic = uniqueName('given')
    const transport = nats({ client: connection })
    const bus = createBus({ service: 'given', transport })
    const handled: unknown[] = []
    bus.consume(topic, ({ data }) => void handled.push(data))
    await bus.start()
    assert.equal(transport.connection, connection)
    await bus.publish(topic, { large: 'x'.repeat(200_000) }, { key: 'k', headers: { a: '1' } })
    await bus.publish(topic, 'small')
    await waitUntil(() => handled.length === 2)
    await bus.close()
    assert.equal(connection.isClosed(), false)
    await connection.flush()
    assert.throws(() => nats({ client: connection, url: 'nats://x' }), /url.*belongs to the connection/)
  })
})

describe('native settings', () => {
  test('reach the connection, the stream, every consumer, and one consumer', async () => {
    const name = stream()
    const bus = makeBus({
      stream: { name },
      native: { connect: { name: 'mine' }, stream: { max_msg_size: 5_000 }, consumer: { metadata: { team: 'a' } } },
    })
    bus.consume('native', () => {}, { native: { consumer: { max_ack_pending: 7 } } })
    await bus.start()
    const info = await api(`STREAM.INFO.${name}`)
    assert.equal((info['config'] as { max_msg_size: number }).max_msg_size, 5_000)
    const list = (await api(`CONSUMER.LIST.${name}`))['consumers'] as { config: Record<string, unknown> }[]
    // That of the group, which is acked, and that of its member, which is not.
    assert.deepEqual(
      list.map(({ config }) => String(config['ack_policy'])).toSorted((a, b) => a.localeCompare(b)),
      ['explicit', 'none'],
    )
    for (const { config } of list) {
      if (config['ack_policy'] === 'explicit') assert.equal(config['max_ack_pending'], 7)
      const metadata = config['metadata'] as Record<string, string>
      assert.deepEqual(
        [metadata['team'], metadata['busbar.topic'], metadata['busbar.group']],
        ['a', 'native', 'features'],
      )
    }
  })
})

describe('streams', () => {
  test('one that differs from the options is used as it is, and the difference is reported', async () => {
    const name = stream()
    await makeBus({ stream: { name }, partitions: 3, retention: { maxAgeMs: 120_000 } }).start()
    const other = makeBus({ stream: { name }, partitions: 5, retention: { maxAgeMs: 60_000, maxMessages: 10 } })
    const warnings = record(other, 'warning')
    await other.start()
    const drift = warnings.find(({ code }) => code === 'nats-stream-drift') ?? assert.fail()
    for (const part of ['maxAgeMs', 'maxMessages', 'partitions: 3 instead of 5'])
      assert.match(drift.detail, new RegExp(part))
  })

  test('a name that belongs to another program is refused', async () => {
    const name = stream()
    await api(`STREAM.CREATE.${name}`, { name, subjects: [`${name}-theirs.>`], storage: 'memory' })
    await assert.rejects(makeBus({ stream: { name } }).start(), /stream\.name.*for other subjects/)
  })

  test('messages that its limits delete before a group has seen them are reported as lost, with their number', async () => {
    const [name, topic] = [stream(), uniqueName('limited')]
    const options: NatsOptions = { stream: { name }, partitions: 2, retention: { maxMessages: 50 }, leaseMs: 500 }
    const bus = makeBus(options)
    const lost = record(bus, 'loss')
    const handled: unknown[] = []
    const consumer = bus.consume(topic, ({ data }) => void handled.push(data), { order: 'strict', prefetch: 1 })
    await bus.start()
    await bus.publish(topic, 'first')
    await waitUntil(() => handled.length === 1)
    consumer.pause()
    await bus.publishMany(
      topic,
      Array.from({ length: 40 }, (_, data) => ({ data })),
    )
    const lagging = async (): Promise<boolean> => (await bus.admin().groups(topic))[0]?.lag === 40
    await waitUntil(lagging)
    // It has been seen that they wait, and how many.
    const looked = async (): Promise<boolean> => {
      const { message } = await api(`STREAM.MSG.GET.${name}_state`, { last_by_subj: `${name}-state.at.*.all` })
      const { data } = message as { data: string }
      return 'waiting' in (JSON.parse(Buffer.from(data, 'base64').toString()) as object)
    }
    await waitUntil(looked)
    await bus.publishMany(
      topic,
      Array.from({ length: 45 }, (_, data) => ({ data: 100 + data })),
    )
    await waitUntil(() => lost.length > 0)
    // 50 are kept: 5 of the 40 at most, and one that may be waiting here already.
    const count = lost.reduce((total, event) => total + (event.count ?? 0), 0)
    assert.ok(count >= 33 && count <= 35, `${count} were told`)
    assert.match(lost[0]?.reason ?? '', /limits/)
    consumer.resume()
    await waitUntil(() => handled.includes(144))
  })

  test('the server spreads the messages of other programs as we spread ours', async () => {
    const topic = 'orders'
    const bus = makeBus({ stream: { name: 'mapped' }, partitions: 4 })
    const keys = ['a', 'ord-17', 'kunde-ü', 'x'.repeat(100)]
    const ours = new Map<string, string>()
    await bus.start()
    const watch = plain.subscribe('mapped.*.orders', {
      callback: (_error, message) =>
        void ours.set(message.headers?.get('ce-partitionkey') ?? message.string(), message.subject),
    })
    await plain.flush()
    for (const key of keys) await bus.publish(topic, 1, { key })
    await waitUntil(() => ours.size === keys.length)
    for (const key of keys.filter((text) => /^[\w-]+$/.test(text))) {
      const subject = ours.get(key)
      plain.publish(`raw.${key}`, `raw ${key}`)
      await waitUntil(() => ours.has(`raw ${key}`))
      assert.equal(ours.get(`raw ${key}`), subject, key)
    }
    watch.unsubscribe()
  })
})

describe('consumers', () => {
  test('what the server gave up on (maxDeliver) is dead-lettered, also when its last delivery expired while no member ran', async () => {
    const [name, topic] = [stream(), uniqueName('given-up')]
    const options: NatsOptions = { stream: { name }, partitions: 1, maxDeliver: 2, leaseMs: 500 }
    const bus = makeBus(options)
    const dead = record(bus, 'deadLetter')
    bus.consume(topic, () => Promise.reject(new Error('no')), { retry: { mode: 'delayed', attempts: 10, baseMs: 10 } })
    await bus.start()
    const { id } = await bus.publish(topic, { n: 1 }, { headers: { kept: 'yes' } })
    await waitUntil(() => dead.length === 1)
    assert.equal(dead[0]?.reason, 'exhausted')
    assert.equal((await bus.deadLetters(topic, 'features').get(id))?.message.headers['kept'], 'yes')
    await bus.close()

    // The last delivery runs out while no member is connected.
    const taker = (await api(`CONSUMER.LIST.${name}`))['consumers'] as {
      name: string
      config: { filter_subject: string }
    }[]
    const consumer = taker.find(({ config }) => config.filter_subject === `${name}.any.${topic}`) ?? assert.fail()
    const publisher = makeBus({ stream: { name } })
    await publisher.start()
    const second = await publisher.publish(topic, { n: 2 })
    await runOut(name, consumer.name, 1)
    const later = makeBus(options)
    const found = record(later, 'deadLetter')
    later.consume(topic, () => assert.fail('it was delivered as often as it may be'))
    await later.start()
    await waitUntil(() => found.length === 1)
    assert.equal(found[0]?.message.id, second.id)
    await waitUntil(async () => (await messagesIn(`${name}_advisories`)) === 0)
  })

  test('a message that can not be dead-lettered (maxDeliver) holds up no other, and is reported', async () => {
    const [name, topic] = [stream(), uniqueName('too-large')]
    const options = { stream: { name }, partitions: 1, maxDeliver: 2, leaseMs: 500 }
    const before = makeBus(options)
    before.consume(topic, () => undefined)
    await before.start()
    const { consumers } = (await api(`CONSUMER.NAMES.${name}`)) as { consumers: string[] }
    await before.close()
    // The server takes it, but not with the headers of a dead letter.
    const large = JSON.stringify('x'.repeat(1_048_500))
    const { seq } = (await plain.request(`${name}.any.${topic}`, large)).json<{ seq: number }>()
    const publisher = makeBus({ stream: { name } })
    await publisher.start()
    const { id } = await publisher.publish(topic, 'fits')
    const consumer = consumers.find((each) => each.endsWith('any')) ?? assert.fail()
    await runOut(name, consumer, 2)
    await waitUntil(
      async () => {
        // It gives up on a message when it would have to deliver it again.
        await pull(name, consumer, 2)
        return (await messagesIn(`${name}_advisories`)) === 2
      },
      { intervalMs: 100 },
    )
    const bus = makeBus(options)
    const [dead, errors] = [record(bus, 'deadLetter'), record(bus, 'error')]
    await bus.start()
    await waitUntil(() => dead.length === 1, { describe: () => errors.map(({ doing }) => doing).join() })
    assert.equal(dead[0]?.message.id, id)
    assert.ok(errors.some(({ doing }) => doing.startsWith(`dead-lettering message ${seq} of stream "${name}"`)))
    // That of the large one is left: it is tried again later.
    await waitUntil(async () => (await messagesIn(`${name}_advisories`)) === 1)
  })

  test('broadcast: every instance gets everything, in order', async () => {
    const topic = uniqueName('broadcast')
    const received: number[][] = [[], []]
    for (const own of received) {
      const bus = makeBus()
      bus.consume(topic, ({ data }) => void own.push(data as number), { broadcast: true, concurrency: 1 })
      await bus.start()
    }
    const publisher = makeBus()
    await publisher.start()
    const expected = Array.from({ length: 300 }, (_, index) => index)
    for (const data of expected) void publisher.publish(topic, data)
    await waitUntil(() => received.every(({ length }) => length === 300))
    for (const own of received) assert.deepEqual(own, expected)
  })
})

/** A member that dies takes so many messages as often as they may be delivered (twice). */
async function runOut(name: string, consumer: string, count: number): Promise<void> {
  const before = (await consumerInfo(name, consumer)).delivered
  let delivered = before
  await waitUntil(
    async () => {
      await pull(name, consumer, count)
      ;({ delivered } = await consumerInfo(name, consumer))
      return delivered === before + 2 * count
    },
    { intervalMs: 100, describe: () => `${delivered - before} deliveries` },
  )
}

/** Takes what there is, and never says another word. */
async function pull(name: string, consumer: string, count: number): Promise<void> {
  plain.publish(`$JS.API.CONSUMER.MSG.NEXT.${name}.${consumer}`, `{"batch":${count},"no_wait":true}`, {
    reply: 'taken',
  })
  await plain.flush()
}

async function consumerInfo(name: string, consumer: string): Promise<{ delivered: number }> {
  const info = await api(`CONSUMER.INFO.${name}.${consumer}`)
  return { delivered: (info['delivered'] as { consumer_seq: number }).consumer_seq }
}

async function messagesIn(name: string): Promise<number> {
  return ((await api(`STREAM.INFO.${name}`))['state'] as { messages: number }).messages
}

describe.each([true, false])('request and reply, jetstream: %s', (jetstream) => {
  // The rest is in the conformance suite.
  test('programs without Busbar may ask and answer', async () => {
    const { requestReply } = await open({ jetstream })
    const topic = uniqueName('rpc')
    const responder = await requestReply.respond({ topic, group: 'g', maxInFlight: 10 }, (request) => {
      if (request.headers['who'] === undefined) throw new Error('kaputt')
      return {
        ...request,
        body: Buffer.from(`${Buffer.from(request.body ?? []).toString()} ${request.headers['who']}`),
      }
    })
    const headers = makeHeaders()
    headers.append('who', 'Ada')
    const reply = await plain.request(`busbar-rpc.${topic}`, 'hello', { headers, timeout: 5_000 })
    assert.equal(reply.string(), 'hello Ada')
    const failure = await plain.request(`busbar-rpc.${topic}`, 'hello', { timeout: 5_000 })
    assert.equal(failure.string(), 'kaputt')
    assert.equal(failure.headers?.get('busbar-failure'), 'failed')
    await responder.close()

    const subscription = plain.subscribe(`busbar-rpc.${topic}`, {
      callback: (_error, message) => void message.respond('plain'),
    })
    await plain.flush()
    const answer = await requestReply.request(outgoing(topic), { timeoutMs: 5_000 })
    assert.equal(Buffer.from(answer.body ?? []).toString(), 'plain')
    assert.equal(answer.topic, topic)
    subscription.unsubscribe()
  })

  test('a lost connection fails pending requests at once; responders come back with it', async () => {
    const proxy = await tcpProxy(server)
    cleanUps.push(() => proxy.close())
    const asking = await open({ jetstream, url: `nats://${proxy.host}:${proxy.port}` })
    const answering = await open({ jetstream, url: `nats://${proxy.host}:${proxy.port}` })
    const topic = uniqueName('rpc')
    const started: string[] = []
    await answering.requestReply.respond({ topic, group: 'g', maxInFlight: 10 }, (request) => {
      started.push(request.id)
      return request.key === 'stuck' ? new Promise(() => {}) : request
    })
    const stuck = outgoing(topic, { key: 'stuck' })
    const lost = asking.requestReply.request(stuck, { timeoutMs: 3_600_000 }).then(
      () => assert.fail('it can not be answered'),
      (error: unknown) => error,
    )
    await waitUntil(() => started.length === 1)
    proxy.cut()
    const error = await lost
    assert.ok(PublishError.is(error) && error.outcome === 'unknown', String(error))
    await waitUntil(() => asking.health().connected && answering.health().connected)
    const { id } = await asking.requestReply.request(outgoing(topic), { timeoutMs: 5_000 })
    assert.deepEqual(started, [stuck.id, id], 'no request is sent again')
  })

  test('the connection that was passed stays open, without subscriptions of ours', async () => {
    const client = await connect({ servers: server.url })
    cleanUps.push(() => client.close())
    const transport = await open({ jetstream, client })
    const topic = uniqueName('rpc')
    await transport.requestReply.respond({ topic, group: 'g', maxInFlight: 1 }, (request) => request)
    await transport.requestReply.request(outgoing(topic), { timeoutMs: 5_000 })
    await transport.close()
    assert.equal(client.isClosed(), false)
    await assert.rejects(client.request(`busbar-rpc.${topic}`, ''), /no responders/i)
  })
})

/** An open transport below any bus. */
async function open(options: NatsOptions): Promise<NatsTransport> {
  const transport = nats({ ...(options.client === undefined && { url: server.url }), ...options })
  cleanUps.push(() => transport.close({ deadlineMs: 1_000 }))
  await openRaw(transport, 'rpc')
  return transport
}
