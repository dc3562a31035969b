import assert from 'node:assert/strict'
import { connect } from '@nats-io/transport-node'
import type { Msg, NatsConnection } from '@nats-io/transport-node'
import { afterEach, describe, test } from 'vitest'
import { createBus } from 'busbar'
import { tcpProxy, uniqueName, waitUntil } from 'busbar/testing'
import { nats } from 'busbar/nats'
import { startPrivate } from '../../tools/brokers/index.ts'

/** Longer than a repetition takes, and far shorter than a request may. */
const RECOVERY_MS = 6_000
const DOMAIN = 'lossy'
const KEYS = ['k0', 'k1', 'k2', 'k3', 'k4', 'k5']

const cleanUps: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp()
})

/** Passes on what is asked of JetStream's API, except for what the test wants lost. */
class Gateway {
  readonly lost: string[] = []
  /** The consumer that the first reader asks for: all requests for that name are lost. */
  deadConsumer: string | undefined
  readonly #client: NatsConnection
  readonly #seen = new Set<string>()
  #lossy = false
  #losesReader = false

  constructor(client: NatsConnection) {
    this.#client = client
    client.subscribe(`$JS.${DOMAIN}.API.>`, { callback: (_, message) => this.#pass(message) })
  }

  loseEachOnce(): void {
    this.#lossy = true
    this.#seen.clear()
  }

  /** As if the cluster had placed it on a node that has just died. */
  loseFirstReader(): void {
    this.#losesReader = true
  }

  #isOfDeadConsumer(subject: string): boolean {
    const [, name] = /\.CONSUMER\.CREATE\.[^.]+\.([^.]+--r[0-9a-f]+)/.exec(subject) ?? []
    if (name !== undefined && this.#losesReader) this.deadConsumer ??= name
    return name !== undefined && name === this.deadConsumer
  }

  #pass({ subject, data, reply, headers }: Msg): void {
    if (this.#isOfDeadConsumer(subject)) return void this.lost.push(subject)
    const isLookup = /\.(STREAM\.INFO|CONSUMER\.INFO|DIRECT\.GET)\./.test(subject)
    if (this.#lossy && isLookup && !this.#seen.has(subject)) {
      // As if its leader had died with it.
      this.#seen.add(subject)
      this.lost.push(subject)
      return
    }
    const options = { ...(reply === undefined ? {} : { reply }), ...(headers === undefined ? {} : { headers }) }
    this.#client.publish(subject.replace(`$JS.${DOMAIN}.API`, '$JS.API'), data, options)
  }
}

describe('requests to JetStream that are lost with the node that they went to', () => {
  test('each lookup is lost once after a cut: all keys continue soon', { timeout: 40_000 }, async () => {
    const { gateway, proxy, round, handled } = await scene()
    await round(0, 10_000)
    gateway.loseEachOnce()
    proxy.cut()
    await round(1, RECOVERY_MS)
    // Of the four streams and the consumer of the group at least.
    assert.ok(gateway.lost.length >= 5, `lost were only ${gateway.lost.join(', ')}`)
    for (const key of KEYS) assert.deepEqual(handled.get(key), [0, 1])
  })

  test('a consumer is never answered for after a cut: the reader takes another', { timeout: 40_000 }, async () => {
    const { gateway, proxy, round, handled } = await scene()
    await round(0, 10_000)
    gateway.loseFirstReader()
    proxy.cut()
    // A request may take 15 s; the first attempt takes 4 s.
    await round(1, 12_000)
    assert.notEqual(gateway.deadConsumer, undefined)
    for (const key of KEYS) assert.deepEqual(handled.get(key), [0, 1])
  })
})

async function scene() {
  const server = await startPrivate('nats')
  cleanUps.push(() => server.stop())
  const proxy = await tcpProxy(server)
  cleanUps.push(() => proxy.close())
  const client = await connect({ servers: `${server.host}:${server.port}` })
  cleanUps.push(() => client.close())
  const gateway = new Gateway(client)
  await client.flush()
  const topic = uniqueName('lost-requests')
  const options = { leaseMs: 10_000, partitions: 3 }
  const bus = createBus({
    service: 'consumer',
    transport: nats({ ...options, domain: DOMAIN, url: `nats://${proxy.host}:${proxy.port}` }),
  })
  const publisher = createBus({ service: 'publisher', transport: nats({ ...options, url: server.url }) })
  cleanUps.push(() => Promise.all([bus.close({ timeoutMs: 1_000 }), publisher.close()]))
  const handled = new Map<string, unknown[]>()
  bus.consume(topic, ({ key = '', data }) => {
    handled.set(key, [...(handled.get(key) ?? []), data])
  })
  // First, since it makes the streams: a gateway can't say that nobody answers.
  await publisher.start()
  await bus.start()
  const round = async (data: number, timeoutMs: number): Promise<void> => {
    for (const key of KEYS) await publisher.publish(topic, data, { key })
    await waitUntil(() => KEYS.every((key) => handled.get(key)?.at(-1) === data), {
      timeoutMs,
      describe: () => `round ${data}: ${JSON.stringify([...handled])}, lost ${gateway.lost.join(', ')}`,
    })
  }
  return { gateway, proxy, round, handled }
}
