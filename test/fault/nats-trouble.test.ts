import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { connect } from '@nats-io/transport-node'
import type { NatsConnection } from '@nats-io/transport-node'
import { afterEach, describe, test } from 'vitest'
import { AuthorizationError, createBus, PublishError } from 'busbar'
import type { Bus, BusEventMap } from 'busbar'
import { ledger, tcpProxy, uniqueName, waitUntil } from 'busbar/testing'
import { nats } from 'busbar/nats'
import type { NatsOptions } from 'busbar/nats'
import { startPrivate } from '../../tools/brokers/index.ts'
import type { NatsBroker } from '../../tools/brokers/index.ts'
import { recordFault, toRow } from './fault-report.ts'

const QUICK = { leaseMs: 2_000, partitions: 2 } as const

/** What a test has started, to be ended in the opposite order. */
const cleanUps: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp()
})

async function broker(config = ''): Promise<NatsBroker> {
  const started = await startPrivate('nats', { config })
  cleanUps.push(() => started.stop())
  return started
}

function makeBus(options: NatsOptions, deliveryTimeoutMs = 10_000): Bus {
  const transport = nats({ ...QUICK, ...options })
  const bus = createBus({ service: 'trouble', transport, publish: { deliveryTimeoutMs } })
  cleanUps.push(() => bus.close({ timeoutMs: 1_000 }))
  return bus
}

async function plainClient({ host, port }: NatsBroker): Promise<NatsConnection> {
  const client = await connect({ servers: `${host}:${port}`, reconnectTimeWait: 50, maxReconnectAttempts: -1 })
  cleanUps.push(() => client.close())
  return client
}

function record<Name extends keyof BusEventMap>(bus: Bus, name: Name): BusEventMap[Name][] {
  const seen: BusEventMap[Name][] = []
  bus.events.on(name, (event) => void seen.push(event))
  return seen
}

/** Publishes a number of messages of two keys, in order, and keeps the book. */
async function publish(bus: Bus, topic: string, book: ReturnType<typeof ledger>, count: number): Promise<void> {
  const items = Array.from({ length: count }, (_, data) => ({
    data,
    id: `${uniqueName('m')}-${data}`,
    key: `k${data % 2}`,
  }))
  const results = await bus.publishMany(topic, items, { allowFailures: true })
  for (const [index, { id, error }] of results.entries())
    book.published(
      id,
      error === undefined ? 'confirmed' : error instanceof PublishError ? error.outcome : 'unknown',
      items[index]?.key,
    )
}

describe('trouble with a NATS server', () => {
  test('the credentials are revoked while connected, and granted again', { timeout: 40_000 }, async () => {
    const users = (password: string): string => `authorization { users: [ { user: app, password: "${password}" } ] }`
    const server = await broker(users('one'))
    const [topic, book] = [uniqueName('revoked'), ledger()]
    const bus = makeBus({ url: `nats://${server.host}:${server.port}`, username: 'app', password: 'one' }, 1_500)
    const [errors, disconnects, reconnects] = [
      record(bus, 'error'),
      record(bus, 'disconnect'),
      record(bus, 'reconnect'),
    ]
    bus.consume(topic, ({ id }) => book.handled(id))
    await bus.start()
    await publish(bus, topic, book, 20)
    reload(server, users('one'), users('two'))
    await waitUntil(() => disconnects.length > 0 && errors.some(({ error }) => AuthorizationError.is(error)))
    assert.ok(
      errors.every(({ error }) => !String(error).includes('one')),
      'no secret in an event',
    )
    await assert.rejects(bus.publish(topic, 1, { id: 'refused' }), PublishError.is)
    assert.equal((await bus.health()).status, 'down')
    reload(server, users('two'), users('one'))
    await waitUntil(() => reconnects.length > 0, {
      describe: () => errors.map(({ doing, error }) => `${doing}: ${String(error)}`).join('\n'),
    })
    await publish(bus, topic, book, 20)
    await waitUntil(() => book.complete())
    const report = book.check({ duplicates: 'any' })
    const repeated = report.duplicates.length
    recordFault('nats', server.version, toRow('credentials revoked while connected', { ...report, repeated }, 0))
    assert.equal(repeated, 0)
  })

  test(
    'a stream deleted under a live consumer is made again, and the loss is reported',
    { timeout: 40_000 },
    async () => {
      const server = await broker()
      const [topic, book] = [uniqueName('deleted'), ledger()]
      const bus = makeBus({ url: server.url })
      const [warnings, losses] = [record(bus, 'warning'), record(bus, 'loss')]
      const consumer = bus.consume(topic, ({ id }) => book.handled(id))
      await bus.start()
      await publish(bus, topic, book, 20)
      await waitUntil(() => book.complete())
      consumer.pause()
      await bus.publishMany(
        topic,
        Array.from({ length: 7 }, (_, data) => ({ data, key: 'k0' })),
      )
      const client = await plainClient(server)
      // All seven have been fetched, and wait here.
      await waitUntil(async () => {
        const list = (await client.request('$JS.API.CONSUMER.LIST.busbar', '{}')).json<{
          consumers: { num_pending: number; delivered: { stream_seq: number } }[]
        }>()
        return list.consumers.every(({ num_pending: pending }) => pending === 0)
      })
      await client.request('$JS.API.STREAM.DELETE.busbar')
      await waitUntil(() => losses.length > 0)
      assert.ok(warnings.some(({ code }) => code === 'nats-stream-recreated'))
      consumer.resume()
      await publish(bus, topic, book, 20)
      await waitUntil(() => book.complete())
      assert.equal(
        losses.reduce((total, { count }) => total + (count ?? 0), 0),
        7,
      )
      assert.match(losses[0]?.reason ?? '', /stream was deleted/)
      const report = book.check({ duplicates: 'any' })
      recordFault(
        'nats',
        server.version,
        toRow('stream deleted under a live consumer', { ...report, repeated: report.duplicates.length }, 0),
      )
      assert.equal(report.duplicates.length, 0)
    },
  )

  test(
    'all consumers of the group are deleted on the server while messages flow: nothing is lost',
    { timeout: 40_000 },
    async () => {
      const server = await broker()
      const [topic, book] = [uniqueName('consumers'), ledger()]
      const bus = makeBus({ url: server.url })
      const warnings = record(bus, 'warning')
      bus.consume(topic, ({ id }) => book.handled(id), { prefetch: 32 })
      await bus.start()
      await publish(bus, topic, book, 200)
      const client = await plainClient(server)
      const list = (await client.request('$JS.API.CONSUMER.LIST.busbar', '{}')).json<{
        consumers: { name: string }[]
      }>()
      await Promise.all(list.consumers.map(({ name }) => client.request(`$JS.API.CONSUMER.DELETE.busbar.${name}`)))
      await publish(bus, topic, book, 200)
      await waitUntil(() => book.complete(), { timeoutMs: 20_000 })
      assert.ok(warnings.some(({ code }) => code === 'nats-consumer-recreated'))
      const report = book.check({ duplicates: 'any' })
      const repeated = report.duplicates.reduce((total, { times }) => total + times - 1, 0)
      recordFault('nats', server.version, toRow('consumers deleted while messages flow', { ...report, repeated }, 200))
      assert.ok(repeated <= 200, `${repeated} were handled again`)
    },
  )

  test(
    'the connection is cut while partitions are being taken over: none stands still',
    { timeout: 40_000 },
    async () => {
      const server = await broker()
      const proxy = await tcpProxy(server)
      cleanUps.push(() => proxy.close())
      const [topic, book] = [uniqueName('taking'), ledger()]
      const bus = makeBus({ url: `nats://${proxy.host}:${proxy.port}`, partitions: 4 })
      let cuts = 0
      bus.events.on('rebalance', ({ assigned }) => {
        if (assigned.length > 0 && cuts++ < 3) proxy.cut()
      })
      bus.consume(topic, ({ id }) => book.handled(id))
      await bus.start()
      await waitUntil(() => cuts > 0)
      await publish(bus, topic, book, 40)
      await waitUntil(() => book.complete())
      book.check({ duplicates: 'any' })
    },
  )

  test(
    'streams in memory that a restart removed are made again and reported, and work continues',
    { timeout: 40_000 },
    async () => {
      const server = await broker()
      const [topic, book] = [uniqueName('memory'), ledger()]
      const bus = makeBus({ url: server.url, stream: { storage: 'memory' }, partitions: 2 })
      const [warnings, reconnects] = [record(bus, 'warning'), record(bus, 'reconnect')]
      bus.consume(topic, ({ id }) => book.handled(id))
      await bus.start()
      await publish(bus, topic, book, 20)
      await waitUntil(() => book.complete())
      await server.restart()
      await waitUntil(() => reconnects.length > 0)
      assert.ok(warnings.some(({ code }) => code === 'nats-stream-recreated'))
      await publish(bus, topic, book, 20)
      await waitUntil(() => book.complete())
      book.check()
    },
  )

  test(
    'a server that comes back empty after the leases have ended: the loss is reported',
    { timeout: 40_000 },
    async () => {
      const server = await broker()
      const [topic, book] = [uniqueName('empty'), ledger()]
      const bus = makeBus({ url: server.url, stream: { storage: 'memory' }, partitions: 2 })
      const [losses, rebalances] = [record(bus, 'loss'), record(bus, 'rebalance')]
      const consumer = bus.consume(topic, ({ id }) => book.handled(id), { prefetch: 4 })
      await bus.start()
      consumer.pause()
      const items = Array.from({ length: 100 }, (_, data) => ({ data, key: `k${data % 20}` }))
      await bus.publishMany(topic, items)
      const client = await plainClient(server)
      // It has been seen for each partition how much there is.
      await waitUntil(async () => {
        const records = await Promise.all(
          ['0', '1'].map(async (partition) => {
            const query = JSON.stringify({ last_by_subj: `busbar-state.at.*.${partition}` })
            const answer = await client.request('$JS.API.STREAM.MSG.GET.busbar_state', query)
            return Buffer.from(answer.json<{ message: { data: string } }>().message.data, 'base64').toString()
          }),
        )
        return records.every((text) => 'waiting' in (JSON.parse(text) as object))
      })
      await server.halt()
      await waitUntil(() => rebalances.some(({ revoked }) => revoked.length > 0))
      await server.restart()
      consumer.resume()
      await publish(bus, topic, book, 20)
      await waitUntil(() => book.complete(), { timeoutMs: 20_000 })
      const count = losses.reduce((total, event) => total + (event.count ?? 0), 0)
      assert.ok(count >= 80 && count <= 100, `${count} of 100 were reported`)
    },
  )

  test(
    'a full stream refuses: publishes are not-sent with the reason, and work continues when there is room',
    { timeout: 40_000 },
    async () => {
      const server = await broker()
      const topic = uniqueName('full')
      const bus = makeBus({
        url: server.url,
        partitions: 2,
        retention: { maxBytes: 20_000 },
        native: { stream: { discard: 'new' } },
      })
      await bus.start()
      const results = await bus.publishMany(
        topic,
        Array.from({ length: 40 }, () => ({ data: 'x'.repeat(1_000) })),
        { allowFailures: true },
      )
      const failed = results.map(({ error }) => error).filter((error) => error !== undefined)
      assert.ok(failed.length > 10 && failed.length < 40)
      for (const error of failed) {
        assert.ok(error instanceof PublishError && error.outcome === 'not-sent')
        assert.match(error.message, /maximum bytes exceeded/)
      }
      await bus.admin().purge(topic)
      await bus.publish(topic, 'there is room')
    },
  )

  test('what is published while the connection is known to be lost ends as not-sent', { timeout: 20_000 }, async () => {
    const server = await broker()
    const proxy = await tcpProxy(server)
    cleanUps.push(() => proxy.close())
    for (const jetstream of [true, false]) {
      const topic = uniqueName('away')
      const options = jetstream ? {} : { jetstream, leaseMs: undefined }
      const bus = makeBus({ url: `nats://${proxy.host}:${proxy.port}`, ...options }, 300)
      const disconnects = record(bus, 'disconnect')
      await bus.start()
      await bus.publish(topic, 'before')
      proxy.refuse()
      proxy.cut()
      await waitUntil(() => disconnects.length > 0)
      const results = await bus.publishMany(topic, [{ data: 1, key: 'k' }, { data: 2 }], { allowFailures: true })
      assert.deepEqual(
        results.map(({ error }) => (error instanceof PublishError ? error.outcome : error)),
        ['not-sent', 'not-sent'],
      )
      proxy.accept()
    }
  })

  test(
    'what is larger than max_payload is refused here, and the connection lives on',
    { timeout: 40_000 },
    async () => {
      const server = await broker('max_payload: 65536')
      const topic = uniqueName('large')
      const bus = makeBus({ url: server.url })
      const [warnings, disconnects] = [record(bus, 'warning'), record(bus, 'disconnect')]
      await bus.start()
      assert.ok(warnings.some(({ code }) => code === 'nats-max-payload'))
      await assert.rejects(bus.publish(topic, new Uint8Array(65_500)), (error: unknown) => {
        assert.ok(error instanceof PublishError && error.outcome === 'not-sent')
        assert.match(error.message, /65536.*max_payload/)
        return true
      })
      await bus.publish(topic, new Uint8Array(60_000))
      const core = makeBus({ url: server.url, jetstream: false, leaseMs: undefined })
      await core.start()
      await assert.rejects(core.publish(topic, new Uint8Array(65_500)), PublishError.is)
      await core.publish(topic, 'small')
      assert.equal(disconnects.length, 0)
    },
  )

  test('a plain client publishes and consumes on the same topics', { timeout: 40_000 }, async () => {
    const server = await broker()
    const topic = uniqueName('shared')
    const bus = makeBus({ url: server.url, envelope: 'cloudevents' })
    const handled: unknown[] = []
    bus.consume(topic, ({ data }) => void handled.push(data))
    await bus.start()
    const client = await plainClient(server)
    const ack = await client.request(`busbar.any.${topic}`, '{"from":"outside"}')
    assert.match(ack.string(), /"seq"/)
    // Theirs: a pull consumer on our stream, on the subject that every partition has.
    await client.request(
      '$JS.API.CONSUMER.CREATE.busbar.theirs',
      JSON.stringify({
        stream_name: 'busbar',
        config: {
          name: 'theirs',
          durable_name: 'theirs',
          ack_policy: 'explicit',
          deliver_policy: 'all',
          filter_subject: `busbar.*.${topic}`,
        },
      }),
    )
    const { id } = await bus.publish(topic, { from: 'us' }, { key: 'k', headers: { 'x-ours': 'kept' } })
    const seen: { text: string; id: string | undefined; ours: string | undefined }[] = []
    const inbox = client.subscribe('theirs-inbox', {
      callback: (_error, message) => {
        const { headers } = message
        if ((headers?.code ?? 0) > 0) return
        seen.push({ text: message.string(), id: headers?.get('ce-id'), ours: headers?.get('x-ours') })
        message.respond()
      },
    })
    client.publish('$JS.API.CONSUMER.MSG.NEXT.busbar.theirs', '{"batch":10,"expires":5000000000}', {
      reply: 'theirs-inbox',
    })
    await waitUntil(() => seen.length === 2 && handled.length === 2)
    inbox.unsubscribe()
    assert.deepEqual(seen[1], { text: '{"from":"us"}', id, ours: 'kept' })
    assert.deepEqual(handled, [{ from: 'outside' }, { from: 'us' }])
  })

  test('no socket, timer or listener is left after many buses and many cuts', { timeout: 60_000 }, async () => {
    const server = await broker()
    const proxy = await tcpProxy(server)
    cleanUps.push(() => proxy.close())
    const warnings: string[] = []
    const onWarning = (warning: Error): void => void warnings.push(warning.message)
    process.on('warning', onWarning)
    cleanUps.push(() => process.off('warning', onWarning))
    const resources = (): string[] =>
      process.getActiveResourcesInfo().filter((name) => name === 'TCPSocketWrap' || name === 'Timeout')
    const before = resources().length
    for (let round = 0; round < 8; round++) {
      const topic = uniqueName('leak')
      const bus = makeBus({ url: `nats://${proxy.host}:${proxy.port}` })
      const reconnects = record(bus, 'reconnect')
      const handled = new Set<string>()
      bus.consume(topic, ({ id }) => void handled.add(id))
      await bus.start()
      for (let cut = 1; cut <= 5; cut++) {
        proxy.cut()
        await waitUntil(() => reconnects.length >= cut)
      }
      const { id } = await bus.publish(topic, round)
      await waitUntil(() => handled.has(id))
      await bus.close()
    }
    await waitUntil(() => resources().length <= before, {
      describe: () => `${resources().length} sockets and timers, ${before} before`,
    })
    assert.deepEqual(warnings, [])
  })
})

/** Changes the server's configuration while it runs. */
function reload(server: NatsBroker, from: string, to: string): void {
  const path = join(server.dataDir, 'node-1', 'nats.conf')
  const text = readFileSync(path, 'utf8')
  assert.ok(text.includes(from))
  writeFileSync(path, text.replace(from, to))
  process.kill(server.pid ?? assert.fail(), 'SIGHUP')
}
