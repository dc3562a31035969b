import assert from 'node:assert/strict'
import { setTimeout as pause } from 'node:timers/promises'
import { connect, headers } from '@nats-io/transport-node'
import type { NatsConnection } from '@nats-io/transport-node'
import { afterEach, describe, test } from 'vitest'
import { childConsumer, seededRandom, uniqueName, waitUntil } from 'busbar/testing'
import type { Child, Random } from 'busbar/testing'
import { startPrivate } from '../../tools/brokers/index.ts'
import type { NatsBroker } from '../../tools/brokers/index.ts'

const LEASE_MS = 2_000
const PARTITIONS = 4
const GROUP = 'g'

const cleanUps: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp()
})

/** A program that knows nothing of Busbar: it publishes, and does to the server what it should not. */
class Foreigner {
  readonly topic = uniqueName('foreign')
  /** Ids of what the stream has confirmed, by subject and in the order of their sequences. */
  readonly confirmed = new Map<string, string[]>()
  count = 0
  readonly #client: NatsConnection
  readonly #random: Random

  constructor(client: NatsConnection, random: Random) {
    this.#client = client
    this.#random = random
  }

  async api(subject: string, body: object = {}): Promise<Record<string, unknown>> {
    return (await this.#client.request(`$JS.API.${subject}`, JSON.stringify(body), { timeout: 10_000 })).json()
  }

  /** Stores a message with headers that other programs may set; some of them twice, which the stream must notice. */
  async publish(): Promise<void> {
    const random = this.#random
    const id = `f${this.count++}`
    const token = random.pick([...Array.from({ length: PARTITIONS }, (_, at) => String(at)), 'any'])
    const subject = `busbar.${token}.${this.topic}`
    const block = headers()
    block.append('Nats-Msg-Id', `${id}@nobody`)
    block.append('ce-id', id)
    if (random.chance(0.3)) block.append('CE-Type', 'Order, placed')
    if (random.chance(0.3)) block.append('ce-partitionkey', `k${random.integer(0, 5)}`)
    if (random.chance(0.2)) block.append('X-Multi', 'a')
    if (random.chance(0.2)) block.append('X-Multi', 'b')
    if (random.chance(0.1)) block.append('busbar', 'not a mark')
    if (random.chance(0.1)) block.append('busbar-deliver-at', 'tomorrow')
    if (random.chance(0.1)) block.append('ce-time', 'yesterday')
    if (random.chance(0.1)) block.append('content-type', 'text/plain')
    const body = random.pick(['{}', '"x"', 'null', '[1]', '5'])
    const copies = random.chance(0.1) ? 2 : 1
    for (let copy = 0; copy < copies; copy++) {
      const answer = await this.#client.request(subject, body, { headers: block, timeout: 10_000 })
      const { error, duplicate } = answer.json<{ error?: object; duplicate?: boolean }>()
      assert.equal(error, undefined)
      assert.equal(duplicate === true, copy === 1)
    }
    this.confirmed.set(subject, [...(this.confirmed.get(subject) ?? []), id])
  }

  get ids(): string[] {
    return [...this.confirmed.values()].flat()
  }

  async consumers(): Promise<string[]> {
    return ((await this.api('CONSUMER.NAMES.busbar'))['consumers'] as string[] | null) ?? []
  }
}

async function begin(seed: string): Promise<{ server: NatsBroker; foreigner: Foreigner; random: Random }> {
  const server = await startPrivate('nats')
  cleanUps.push(() => server.stop())
  const client = await connect({ servers: `${server.host}:${server.port}` })
  cleanUps.push(() => client.close())
  const random = seededRandom(seed)
  return { server, foreigner: new Foreigner(client, random), random }
}

async function member({ url }: NatsBroker, topic: string): Promise<Child> {
  const child = await childConsumer({
    module: new URL('./nats-child.ts', import.meta.url),
    env: {
      BUSBAR_TEST_NATS: url,
      BUSBAR_TEST_LEASE_MS: String(LEASE_MS),
      BUSBAR_TEST_PARTITIONS: String(PARTITIONS),
    },
    topic,
    options: { group: GROUP, concurrency: 8, prefetch: 32 },
  })
  cleanUps.push(() => child[Symbol.asyncDispose]())
  return child
}

const done = (members: readonly Child[]): string[] => members.flatMap((child) => child.ids('done'))

async function complete(foreigner: Foreigner, members: readonly Child[], timeoutMs = 30_000): Promise<void> {
  const missing = (): string[] => {
    const handled = new Set(done(members))
    return foreigner.ids.filter((id) => !handled.has(id))
  }
  await waitUntil(() => missing().length === 0, {
    timeoutMs,
    describe: () => `${missing().length} of ${foreigner.ids.length} are missing: ${missing().slice(0, 20).join()}`,
  })
}

describe('a program that knows nothing of Busbar', () => {
  test('publishes odd messages: each is handled once', { timeout: 60_000 }, async () => {
    const { server, foreigner } = await begin('odd')
    const members = [await member(server, foreigner.topic), await member(server, foreigner.topic)]
    for (let count = 0; count < 400; count++) await foreigner.publish()
    await complete(foreigner, members)
    assert.equal(done(members).length, 400)
    assert.deepEqual(new Set(done(members)), new Set(foreigner.ids))
  })

  test('deletes consumers, leases and records again and again: nothing is lost', { timeout: 120_000 }, async () => {
    const { server, foreigner, random } = await begin('deletes')
    const members = [await member(server, foreigner.topic), await member(server, foreigner.topic)]
    const deeds: readonly (() => Promise<unknown>)[] = [
      async () => {
        for (const name of await foreigner.consumers()) await foreigner.api(`CONSUMER.DELETE.busbar.${name}`)
      },
      () => foreigner.api('STREAM.PURGE.busbar_leases'),
      () => foreigner.api('STREAM.DELETE.busbar_leases'),
      () => foreigner.api('STREAM.PURGE.busbar_state', { filter: 'busbar-state.at.>' }),
      () => foreigner.api('STREAM.DELETE.busbar_state'),
    ]
    for (let round = 0; round < 30; round++) {
      for (let count = 0; count < 20; count++) await foreigner.publish()
      await random.pick([...deeds])()
    }
    await complete(foreigner, members, 60_000)
  })

  test('is there while members freeze, and die as they hand over: nothing is lost', { timeout: 120_000 }, async () => {
    const { server, foreigner, random } = await begin('lives')
    const all: Child[] = [await member(server, foreigner.topic)]
    const over = new AbortController()
    const publishing = (async () => {
      while (!over.signal.aborted) {
        await foreigner.publish()
        await pause(2)
      }
    })()
    for (let round = 0; round < 5; round++) {
      const joining = member(server, foreigner.topic)
      // At some moment of the handover to the one that joins.
      await pause(random.integer(200, 900))
      await (all.at(-1) as Child).kill()
      const next = await joining
      all.push(next)
      if (round % 2 === 0) continue
      const third = await member(server, foreigner.topic)
      all.push(third)
      next.freeze()
      await pause(LEASE_MS + random.integer(-300, 1_500))
      next.thaw()
      await next.kill()
    }
    over.abort()
    await publishing
    await complete(foreigner, all)
  })
})
