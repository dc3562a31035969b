import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import amqp from 'amqplib'
import { afterAll, afterEach, beforeAll, describe, test } from 'vitest'
import { AuthorizationError, ConnectionError, createBus } from 'busbar'
import type { Bus, Transport } from 'busbar'
import { rabbitmq } from 'busbar/rabbitmq'
import type { Credentials, Purpose, RabbitMqOptions } from 'busbar/rabbitmq'
import { tcpProxy, uniqueName, waitUntil } from 'busbar/testing'
import type { ProxyLink } from 'busbar/testing'
import { transportFromUrl } from 'busbar/url'
import { systemClock } from '../../src/core/clock.ts'
import { DeclareChannel } from '../../src/transports/rabbitmq/topology/declare-channel.ts'
import { Connection } from '../../src/transports/rabbitmq/connection/connection.ts'
import { createCertificates } from '../../tools/brokers/certificates.ts'
import type { Certificates } from '../../tools/brokers/certificates.ts'
import { freePort, startPrivate } from '../../tools/brokers/index.ts'
import type { RabbitMqBroker } from '../../tools/brokers/index.ts'

describe('RabbitMQ: connections and credentials', () => {
  let broker: RabbitMqBroker
  let tlsPort: number
  let certificates: Certificates
  const folder = mkdtempSync(join(tmpdir(), 'busbar-rabbitmq-'))
  const buses: Bus[] = []

  beforeAll(async () => {
    certificates = await createCertificates('rabbitmq', folder)
    tlsPort = await freePort()
    const { caFile, certFile, keyFile } = certificates.server
    broker = await startPrivate('rabbitmq', {
      conf: [
        `listeners.ssl.default = 127.0.0.1:${tlsPort}`,
        `ssl_options.cacertfile = ${caFile}`,
        `ssl_options.certfile = ${certFile}`,
        `ssl_options.keyfile = ${keyFile}`,
        'ssl_options.verify = verify_peer',
        'ssl_options.fail_if_no_peer_cert = false',
        'ssl_cert_login_from = common_name',
        'auth_mechanisms.1 = PLAIN',
        'auth_mechanisms.2 = EXTERNAL',
      ].join('\n'),
      // EXTERNAL comes from it.
      plugins: ['rabbitmq_auth_mechanism_ssl'],
    })
    await broker.ctl('add_vhost', 'team a')
    for (const [user, password] of [
      ['client', 'unused'],
      ['us er', 'p@ss/wörd%'],
    ] as const) {
      await broker.ctl('add_user', user, password)
      for (const vhost of ['/', 'team a']) await broker.ctl('set_permissions', '-p', vhost, user, '.*', '.*', '.*')
    }
  })
  afterEach(async () => {
    for (const bus of buses.splice(0)) await bus.close({ timeoutMs: 500 })
  })
  afterAll(async () => {
    await broker.stop()
    rmSync(folder, { recursive: true, force: true })
  })

  function bus(transport: Transport): Bus {
    const made = createBus({ service: 'connections', transport })
    buses.push(made)
    return made
  }

  const at = (options: RabbitMqOptions = {}): Bus =>
    bus(rabbitmq({ url: `amqp://127.0.0.1:${broker.port}`, ...options }))

  async function roundTrip(on: Bus): Promise<void> {
    const topic = uniqueName('trip')
    const seen: unknown[] = []
    const handle = on.consume(topic, ({ data }) => void seen.push(data), { order: 'none' })
    if (on.state === 'idle') await on.start()
    await handle.ready
    await on.publish(topic, 'hello')
    await waitUntil(() => seen.length === 1, { timeoutMs: 5_000 })
    await handle.close()
  }

  test('TLS with the authority given, and not without it', async () => {
    const url = `amqps://localhost:${tlsPort}`
    await roundTrip(at({ url, tls: { ca: readFileSync(certificates.server.caFile) } }))
    await assert.rejects(
      at({ url }).start(),
      (error) => error instanceof ConnectionError && /certificate/.test(error.message),
    )
  })

  test('a client certificate is the login (EXTERNAL)', async () => {
    const { caFile, certFile, keyFile } = certificates.client
    const [ca, cert, key] = [caFile, certFile, keyFile].map((file) => readFileSync(file))
    const on = at({
      url: `amqps://localhost:${tlsPort}`,
      tls: { ca, cert, key },
      native: { socket: { credentials: amqp.credentials.external() } },
    })
    await roundTrip(on)
    assert.match(await broker.ctl('list_connections', 'user'), /^client$/m)
  })

  test('user, password and virtual host in the URL, whatever is in them', async () => {
    const password = encodeURIComponent('p@ss/wörd%')
    await roundTrip(at({ url: `amqp://us%20er:${password}@127.0.0.1:${broker.port}/team%20a` }))
    await roundTrip(bus(await transportFromUrl(`amqp://us%20er:${password}@127.0.0.1:${broker.port}/team%20a`)))
  })

  test('credentials beside the URL, and from a function that is asked at each connect', async () => {
    await roundTrip(at({ credentials: { username: 'us er', password: 'p@ss/wörd%' } }))
    const proxy = await tcpProxy({ port: broker.port })
    let asked = 0
    const credentials = (): Credentials => {
      asked++
      return { username: 'us er', password: 'p@ss/wörd%' }
    }
    const on = at({ url: `amqp://127.0.0.1:${proxy.port}`, credentials })
    await roundTrip(on)
    const before = asked
    proxy.cut()
    await waitUntil(async () => asked > before && on.health() !== undefined, { timeoutMs: 10_000 })
    await roundTrip(on)
    await proxy.close()
  })

  test('a wrong password is an AuthorizationError that does not show it', async () => {
    const on = at({ credentials: { username: 'guest', password: 's3cret-guess' } })
    await assert.rejects(on.start(), (error) => {
      assert.ok(AuthorizationError.is(error), String(error))
      assert.doesNotMatch(`${error.message} ${String(error.cause)}`, /s3cret-guess/)
      return true
    })
    await assert.rejects(at({ url: `amqp://127.0.0.1:${broker.port}/nowhere` }).start(), (error) =>
      AuthorizationError.is(error),
    )
  })

  test('of several hosts, each try takes the next', async () => {
    const nobody = await freePort()
    const proxy = await tcpProxy({ port: broker.port })
    const on = at({
      url: [`amqp://127.0.0.1:${proxy.port}`, `amqp://127.0.0.1:${nobody}`, `amqp://127.0.0.1:${broker.port}`],
      reconnect: { minMs: 10, maxMs: 50 },
    })
    const elsewhere = at({ url: [`amqp://127.0.0.1:${nobody}`, `amqp://127.0.0.1:${broker.port}`] })
    await roundTrip(elsewhere)
    const topic = uniqueName('hosts')
    let handled = 0
    await on.start()
    proxy.refuse()
    proxy.cut()
    on.consume(topic, () => void handled++)
    await waitUntil(
      () =>
        on.publish(topic, 1).then(
          () => handled > 0,
          () => false,
        ),
      { timeoutMs: 10_000 },
    )
    await proxy.close()
    const attempts: number[] = []
    const chosen = at({
      url: (attempt) => {
        attempts.push(attempt)
        return `amqp://127.0.0.1:${broker.port}`
      },
    })
    await roundTrip(chosen)
    assert.deepEqual(attempts, [0, 0])
  })

  test('a ready connection is used and left open; one made by connect() is ours', async () => {
    const connection = await amqp.connect(broker.url)
    const on = bus(rabbitmq({ client: connection }))
    await roundTrip(on)
    await on.close()
    await (await connection.createChannel()).close()
    assert.deepEqual(connection.listenerCount('blocked'), 0)
    await connection.close()

    const purposes: Purpose[] = []
    const made = bus(
      rabbitmq({
        connect: async (purpose) => {
          purposes.push(purpose)
          return amqp.connect(broker.url, { noDelay: true })
        },
      }),
    )
    await roundTrip(made)
    assert.deepEqual(purposes.toSorted(), ['consume', 'publish'])
  })

  test('a small frame_max cuts large bodies into frames, and headers that do not fit are refused', async () => {
    const on = at({ url: `amqp://127.0.0.1:${broker.port}?frame_max=8192` })
    const topic = uniqueName('frames')
    const bodies: Uint8Array[] = []
    on.consume(topic, ({ data }) => void bodies.push(data as Uint8Array))
    await on.start()
    const body = Uint8Array.from({ length: 100_000 }, (_, index) => index % 251)
    await on.publish(topic, body, { key: 'k' })
    await waitUntil(() => bodies.length === 1, { timeoutMs: 5_000 })
    assert.deepEqual(Buffer.from(bodies[0] as Uint8Array), Buffer.from(body))
    await assert.rejects(on.publish(topic, 'x', { headers: { large: 'x'.repeat(9_000) } }), /frame_max/)
    // The channel is none the worse for it.
    await on.publish(topic, body, { key: 'k' })
    await waitUntil(() => bodies.length === 2, { timeoutMs: 5_000 })
  })

  test('a connection that ends in the same read that opens a channel: what was to be declared fails', async () => {
    await using proxy = await tcpProxy({ port: broker.port })
    const nothing = (): void => undefined
    const connection = new Connection({
      purpose: 'consume',
      connector: {
        hosts: 1,
        reconnects: false,
        connect: async () => ({
          model: await amqp.connect(`amqp://${proxy.host}:${proxy.port}`),
          owned: true,
          server: undefined,
        }),
      },
      clock: systemClock,
      backoff: { type: 'stop', minMs: 1, maxMs: 1 },
      hooks: {
        restore: async () => undefined,
        up: nothing,
        down: nothing,
        trouble: nothing,
        blocked: nothing,
        bug: nothing,
      },
    })
    await connection.open()
    const declaring = new DeclareChannel(await connection.whenUp())
    proxy.stall('down')
    const before = proxy.bytesUp
    const declared = declaring.run((channel) => channel.checkExchange('amq.direct'))
    await waitUntil(() => proxy.bytesUp > before)
    await broker.ctl('close_all_connections', 'a test')
    proxy.resume()
    await assert.rejects(declared, /a test/)
    await connection.close(1_000)
  })

  test('more consumers than a connection has channels get further connections', { timeout: 60_000 }, async () => {
    const on = at({ url: `amqp://127.0.0.1:${broker.port}?channel_max=80`, connectionName: 'many' })
    const topics = Array.from({ length: 20 }, () => uniqueName('many'))
    const seen = new Set<string>()
    for (const topic of topics) on.consume(topic, () => void seen.add(topic), { order: 'none' })
    await on.start()
    for (const topic of topics) await on.publish(topic, 1)
    await waitUntil(() => seen.size === topics.length, { timeoutMs: 10_000, describe: () => `${seen.size}` })
    const rows = (await broker.ctl('-q', 'list_connections', 'client_properties')).split('\n')
    const names = rows.flatMap((row) => /"(many[^"]*)"/.exec(row)?.[1] ?? [])
    assert.deepEqual(names.sort(), ['many.consume', 'many.consume', 'many.publish'])
    assert.equal((await on.health()).status, 'ok')
  })

  test('heartbeats keep an idle connection, and the broker lists it by its name', async () => {
    await using proxy = await tcpProxy({ port: broker.port })
    const url = `amqp://${proxy.host}:${proxy.port}`
    const on = bus(rabbitmq({ url, heartbeatMs: 1_000, connectionName: 'shop' }))
    await roundTrip(on)
    let losses = 0
    on.events.on('disconnect', () => losses++)
    const listed = await broker.ctl('list_connections', 'client_properties', 'timeout')
    assert.match(listed, /"connection_name","shop\.consume"/)
    assert.match(listed, /"connection_name","shop\.publish"/)
    // A silent peer is given up after two of them; a heartbeat has 8 bytes.
    const enough = 5 * 8
    const before = proxy.links.map(({ bytesUp, bytesDown }) => [bytesUp, bytesDown] as const)
    await waitUntil(() => before.every(([up, down], at) => hasGrown(proxy.links[at], up + enough, down + enough)), {
      timeoutMs: 15_000,
      describe: () => `${proxy.links.length} connections, ${losses} lost`,
    })
    assert.deepEqual([before.length, proxy.accepted, losses], [2, 2, 0])
    await roundTrip(on)
  })
})

function hasGrown(connection: ProxyLink | undefined, up: number, down: number): boolean {
  return connection !== undefined && connection.bytesUp >= up && connection.bytesDown >= down
}
