import assert from 'node:assert/strict'
import amqp from 'amqplib'
import { afterAll, afterEach, beforeAll, describe, test } from 'vitest'
import { AuthorizationError, createBus, PublishError } from 'busbar'
import type { Bus, BusOptions } from 'busbar'
import { rabbitmq } from 'busbar/rabbitmq'
import type { RabbitMqOptions } from 'busbar/rabbitmq'
import { tcpProxy, uniqueName, waitUntil } from 'busbar/testing'
import { startPrivate } from '../../tools/brokers/index.ts'
import type { RabbitMqBroker } from '../../tools/brokers/index.ts'
import { recordFault, toRow } from './fault-report.ts'
import { Flow, PREFETCH } from './flow.ts'

const BACK_WITHIN_MS = 5_000

describe('RabbitMQ: what the broker and its operators do', () => {
  let broker: RabbitMqBroker
  let flow: Flow | undefined
  const buses: Bus[] = []

  beforeAll(async () => {
    broker = await startPrivate('rabbitmq')
  })
  afterEach(async () => {
    await broker.ctl('set_vm_memory_high_watermark', '0.6')
    await broker.ctl('set_disk_free_limit', '50MB')
    await flow?.close()
    flow = undefined
    for (const bus of buses.splice(0)) await bus.close({ timeoutMs: 500 })
  })
  afterAll(() => broker.stop())

  const transport = (options: RabbitMqOptions = {}) => rabbitmq({ url: broker.url, ...options })
  function bus(options: RabbitMqOptions = {}, more: Partial<BusOptions> = {}): Bus {
    const made = createBus({ service: 'faults', transport: transport(options), ...more })
    buses.push(made)
    return made
  }
  async function start(options: RabbitMqOptions = {}): Promise<Flow> {
    const one = () => transport(options)
    flow = new Flow({ members: [one, one], publisher: one })
    return flow.start()
  }
  async function judge(fault: string, running: Flow, explained: number, backMs: number): Promise<void> {
    const outcome = await running.end()
    recordFault('rabbitmq', broker.version, toRow(fault, outcome, explained, backMs))
    assert.ok(outcome.repeated <= explained, `${outcome.repeated} were handled again, ${explained} can be explained`)
    assert.ok(backMs < BACK_WITHIN_MS, `it took ${backMs} ms to come back`)
  }
  const queuesOf = async (topic: string): Promise<string[]> =>
    (await broker.ctl('-q', 'list_queues', 'name')).split('\n').filter((name) => name.includes(topic))

  for (const [alarm, raise, clear] of [
    ['memory', ['set_vm_memory_high_watermark', '0'], ['set_vm_memory_high_watermark', '0.6']],
    ['disk', ['set_disk_free_limit', '900000000000000'], ['set_disk_free_limit', '50MB']],
  ] as const)
    test(
      `${alarm} alarm: publishers wait and say why, consumers continue, and everything flows when it is over`,
      { timeout: 60_000 },
      async () => {
        const running = await start()
        const codes: string[] = []
        running.publisher.events.on('warning', ({ code }) => codes.push(code))
        await broker.ctl(...raise)
        await waitUntil(() => codes.includes('connection-blocked'), { timeoutMs: 10_000 })
        const health = await running.publisher.health()
        assert.match(health.transports['main']?.detail ?? '', new RegExp(alarm === 'memory' ? 'memory' : 'disk'))
        // What is there is handled, and nothing more is confirmed.
        await waitUntil(async () => (await running.publisher.admin().groups(running.topic))[0]?.lag === 0, {
          timeoutMs: 10_000,
        })
        const { confirmed } = running
        await broker.ctl('-q', 'list_queues')
        assert.equal(running.confirmed, confirmed)
        await broker.ctl(...clear)
        await waitUntil(() => codes.includes('connection-unblocked'), { timeoutMs: 10_000 })
        await judge(`${alarm} alarm`, running, 0, await running.progress(20))
      },
    )

  test(
    'an alarm while a member starts, or comes back: it still consumes what is there',
    { timeout: 60_000 },
    async () => {
      const proxy = await tcpProxy({ port: broker.port })
      const topic = uniqueName('alarm')
      const handled = new Set<string>()
      const consumer = bus({ url: `amqp://127.0.0.1:${proxy.port}` })
      const publisher = bus()
      const handle = consumer.consume(topic, ({ id }) => void handled.add(id))
      await consumer.start()
      await publisher.start()
      handle.pause()
      const ids: string[] = []
      for (let number = 0; number < 20; number++)
        ids.push((await publisher.publish(topic, number, { key: `k${number}` })).id)
      await broker.ctl('set_vm_memory_high_watermark', '0')
      proxy.cut()
      handle.resume()
      await waitUntil(() => ids.every((id) => handled.has(id)), {
        timeoutMs: 15_000,
        describe: () => `${handled.size} of ${ids.length}`,
      })
      await broker.ctl('set_vm_memory_high_watermark', '0.6')
      await proxy.close()
    },
  )

  test('all queues of a group are deleted under its members: they are made again', { timeout: 60_000 }, async () => {
    const [warnings, losses]: [string[], string[]] = [[], []]
    const connection = await amqp.connect(broker.url)
    const channel = await connection.createChannel()
    const topic = uniqueName('deleted')
    const handled = new Set<string>()
    const other = bus()
    other.events.on('warning', ({ code }) => warnings.push(code))
    other.events.on('loss', ({ reason }) => losses.push(reason))
    other.consume(topic, ({ id }) => void handled.add(id))
    await other.start()
    const before = await other.publish(topic, 1, { key: 'k' })
    await waitUntil(() => handled.has(before.id), { timeoutMs: 5_000 })
    const queues = (await queuesOf(topic)).filter((name) => /:faults(:\d+)?$/.test(name))
    assert.equal(queues.length, 4, queues.join(', '))
    for (const queue of queues) await channel.deleteQueue(queue)
    await connection.close()
    await waitUntil(() => warnings.includes('consumer-lost'), { timeoutMs: 5_000 })
    const after = await waitUntil(
      () =>
        other.publish(topic, 2, { key: 'k' }).catch((error: unknown) => {
          assert.ok(error instanceof PublishError)
          return undefined
        }),
      { timeoutMs: 10_000 },
    )
    await waitUntil(() => handled.has(after.id), { timeoutMs: 10_000 })
    await waitUntil(() => queues.every((queue) => losses.some((reason) => reason.includes(`"${queue}"`))), {
      timeoutMs: 5_000,
      describe: () => losses.join('\n'),
    })
  })

  test('the exchange of the bus is deleted: it is made again, with all bindings', { timeout: 60_000 }, async () => {
    const running = await start()
    const connection = await amqp.connect(broker.url)
    await (await connection.createChannel()).deleteExchange('busbar')
    await connection.close()
    await judge('exchange deleted', running, 0, await running.progress(20))
  })

  test('the dead-letter queue is deleted: the next dead letter has one again', { timeout: 30_000 }, async () => {
    const on = bus()
    const topic = uniqueName('dlq')
    on.consume(topic, (_, ctx) => ctx.reject('no'))
    await on.start()
    const letters = on.deadLetters(topic)
    await on.publish(topic, 1)
    await waitUntil(async () => (await letters.list()).length === 1, { timeoutMs: 5_000 })
    const connection = await amqp.connect(broker.url)
    await (await connection.createChannel()).deleteQueue(`busbar:${topic}.faults.dlq`)
    await connection.close()
    await on.publish(topic, 2)
    await waitUntil(async () => (await letters.list()).length === 1, { timeoutMs: 10_000 })
  })

  test('a user is deleted while connected, and let in again', { timeout: 60_000 }, async () => {
    const allow = async (): Promise<void> => {
      await broker.ctl('add_user', 'temp', 'pw')
      await broker.ctl('set_permissions', 'temp', '.*', '.*', '.*')
    }
    await allow()
    const running = await start({
      url: `amqp://temp:pw@127.0.0.1:${broker.port}`,
      reconnect: { minMs: 200, maxMs: 1_000 },
    })
    const refused: unknown[] = []
    running.publisher.events.on('error', ({ error }) => refused.push(error))
    await broker.ctl('delete_user', 'temp')
    await broker.ctl('close_all_connections', 'revoked')
    await waitUntil(() => refused.some((error) => AuthorizationError.is(error)), { timeoutMs: 10_000 })
    assert.equal((await running.publisher.health()).status, 'down')
    await allow()
    await judge('user deleted while connected', running, 2 * PREFETCH, await running.progress(20))
  })

  test(
    'the permission to publish is taken away: publishes are refused, not lost, until it is back',
    { timeout: 60_000 },
    async () => {
      await broker.ctl('add_user', 'writer', 'pw')
      await broker.ctl('set_permissions', 'writer', '.*', '.*', '.*')
      const on = bus({ url: `amqp://writer:pw@127.0.0.1:${broker.port}` }, { publish: { deliveryTimeoutMs: 3_000 } })
      const topic = uniqueName('permission')
      const handled = new Set<string>()
      on.consume(topic, ({ id }) => void handled.add(id))
      await on.start()
      await on.publish(topic, 1)
      await broker.ctl('set_permissions', 'writer', '.*', '^$', '.*')
      // It looks again at the permissions with the next channel only.
      await broker.ctl('close_all_connections', 'permissions have changed')
      const error = await waitUntil(
        () =>
          on.publish(topic, 2).then(
            () => undefined,
            (reason: unknown) => reason,
          ),
        { timeoutMs: 20_000, describe: 'a publish that is refused' },
      )
      assert.ok(error instanceof PublishError, 'it must be a PublishError')
      await broker.ctl('set_permissions', 'writer', '.*', '.*', '.*')
      const receipt = await waitUntil(() => on.publish(topic, 3).catch(() => undefined), { timeoutMs: 20_000 })
      await waitUntil(() => handled.has(receipt.id), { timeoutMs: 10_000 })
    },
  )

  test('a message over the limit is refused alone, before the broker ends the channel for it', async () => {
    const on = bus({ maxMessageBytes: 4_096 })
    const topic = uniqueName('large')
    let handled = 0
    on.consume(topic, () => void handled++)
    await on.start()
    const results = await on.publishMany(topic, [{ data: 1 }, { data: 'x'.repeat(8_192) }, { data: 2 }], {
      allowFailures: true,
    })
    assert.deepEqual(
      results.map(({ error }) => (error as PublishError | undefined)?.outcome),
      [undefined, 'not-sent', undefined],
    )
    await waitUntil(() => handled === 2, { timeoutMs: 5_000 })
  })

  test('a plain amqplib producer and consumer share a topic with us', { timeout: 30_000 }, async () => {
    const topic = uniqueName('foreign')
    const on = bus({ envelope: 'cloudevents' })
    const ours: unknown[] = []
    on.consume(topic, ({ data }) => void ours.push(data))
    await on.start()
    const connection = await amqp.connect(broker.url)
    const channel = await connection.createConfirmChannel()
    const { queue } = await channel.assertQueue('', { exclusive: true })
    // The last two words are the bucket of the key; `#` takes it in, and those without one.
    await channel.bindQueue(queue, 'busbar', `${topic}.#`)
    const theirs: { body: unknown; id: unknown; type: unknown }[] = []
    await channel.consume(
      queue,
      (message) => {
        if (message === null) return
        const { headers, messageId } = message.properties
        theirs.push({
          body: JSON.parse(message.content.toString()),
          id: messageId,
          type: headers?.['cloudEvents:type'],
        })
      },
      { noAck: true },
    )
    const { id } = await on.publish(topic, { from: 'us' }, { key: 'k' })
    channel.publish('busbar', topic, Buffer.from('{"from":"them"}'), { messageId: 'm-1' })
    await channel.waitForConfirms()
    await waitUntil(() => ours.length === 2 && theirs.length === 2, { timeoutMs: 5_000 })
    assert.deepEqual(ours, [{ from: 'us' }, { from: 'them' }])
    assert.deepEqual(theirs, [
      { body: { from: 'us' }, id, type: topic },
      { body: { from: 'them' }, id: 'm-1', type: undefined },
    ])
    await connection.close()
  })

  test('twenty lives of a connection leave no socket, channel or listener behind', { timeout: 60_000 }, async () => {
    const proxy = await tcpProxy({ port: broker.port })
    const on = bus({ url: `amqp://127.0.0.1:${proxy.port}`, reconnect: { minMs: 1, maxMs: 10 } })
    const topic = uniqueName('lives')
    let handled = 0
    on.consume(topic, () => void handled++)
    await on.start()
    const resources = (): number => process.getActiveResourcesInfo().filter((name) => name === 'TCPSocketWrap').length
    const channels = async (): Promise<number> =>
      (await broker.ctl('-q', 'list_channels', 'name')).split('\n').filter((line) => line.includes('->')).length
    const alive = async (): Promise<void> => {
      const before = handled
      await waitUntil(
        () =>
          on.publish(topic, 1).then(
            () => true,
            () => undefined,
          ),
        { timeoutMs: 5_000 },
      )
      await waitUntil(() => handled > before, { timeoutMs: 5_000 })
    }
    await alive()
    const [sockets, opened] = [resources(), await channels()]
    for (let life = 0; life < 20; life++) {
      proxy.cut()
      await alive()
    }
    await waitUntil(() => resources() <= sockets, {
      timeoutMs: 5_000,
      describe: () => `${resources()} sockets, ${sockets} before`,
    })
    await waitUntil(async () => (await channels()) <= opened, {
      timeoutMs: 5_000,
      describe: `no more than ${opened} channels`,
    })
    await on.close()
    await proxy.close()
  })
})
