import assert from 'node:assert/strict'
import { afterAll, beforeAll, describe, test } from 'vitest'
import type { Transport } from 'busbar'
import type { Delivery } from 'busbar/transport'
import { uniqueName, waitUntil } from 'busbar/testing'
import { startPrivate } from '../../tools/brokers/index.ts'
import type { NatsBroker } from '../../tools/brokers/index.ts'
import { outgoing, publishRaw, RawConsumer } from '../../src/testing/conformance/raw.ts'
import { onEnd, openTransport, plainClient } from './nats-harness.ts'

let server: NatsBroker
beforeAll(async () => {
  server = await startPrivate('nats')
})
afterAll(() => server.stop())

const open = async (): Promise<Transport> => {
  const { transport } = await openTransport({ url: server.url, leaseMs: 1_000, partitions: 2 })
  return transport
}

async function consumer(transport: Transport, topic: string, credit = 10): Promise<RawConsumer> {
  const raw = await new RawConsumer(10_000).subscribe(transport, { topic, group: 'g', order: 'key' })
  onEnd(() => raw.close())
  raw.request(credit)
  return raw
}

const facts = ({ attempt, history }: Delivery): object => ({ attempt, history })

describe('what is known of a message that comes again', () => {
  for (const key of [undefined, 'k'])
    test(`with ${key === undefined ? 'no key' : 'a key'}: handed back, failed, died while its handler ran`, async () => {
      const topic = uniqueName('attempts')
      const transport = await open()
      const raw = await consumer(transport, topic)
      await publishRaw(transport, [outgoing(topic, { key })])
      const take = async (count: number): Promise<Delivery> => {
        await raw.take(count)
        return raw.deliveries[count - 1] as Delivery
      }
      const first = await take(1)
      assert.deepEqual(facts(first), { attempt: 1, history: 'new' })
      await raw.settle([first], { type: 'release', delayMs: 0 })
      const second = await take(2)
      assert.deepEqual(facts(second), { attempt: 1, history: 'returned' })
      await raw.settle([second], { type: 'nack', delayMs: 0 })
      const third = await take(3)
      assert.deepEqual(facts(third), { attempt: 2, history: 'returned' })
      // Attempts that the runtime made here.
      third.attempt = 4
      await raw.subscription.noteAttempts?.([{ delivery: third, used: 4, running: true, notBefore: undefined }])
      await raw.settle([third], { type: 'release', delayMs: 0 })
      assert.deepEqual(facts(await take(4)), { attempt: 4, history: 'returned' })
    })

  test('a member that dies: what it only had is unknown, what it had begun died, and the rest is new', async () => {
    const topic = uniqueName('died')
    const [first, second] = [await open(), await open()]
    const dying = await consumer(first, topic, 5)
    await publishRaw(
      first,
      Array.from({ length: 8 }, (_, at) => outgoing(topic, { id: `m${at}` })),
    )
    const had = await dying.take(5)
    await dying.subscription.noteAttempts?.([
      { delivery: had[1] as Delivery, used: 1, running: true, notBefore: undefined },
      { delivery: had[2] as Delivery, used: 3, running: false, notBefore: undefined },
    ])
    // It never says another word: no message of it is extended.
    const heir = await consumer(second, topic, 20)
    await heir.take(8)
    const byId = new Map(heir.deliveries.map((delivery) => [delivery.message.id, facts(delivery)]))
    assert.deepEqual(byId.get('m0'), { attempt: 1, history: 'unknown' })
    assert.deepEqual(byId.get('m1'), { attempt: 2, history: 'died' })
    assert.deepEqual(byId.get('m2'), { attempt: 4, history: 'returned' })
    assert.deepEqual(byId.get('m3'), { attempt: 1, history: 'unknown' })
    assert.deepEqual(byId.get('m7'), { attempt: 1, history: 'new' })
  })

  test('a keyed message that waits for its retry keeps its place and its time, in another process too', async () => {
    const topic = uniqueName('in-order')
    const [first, second] = [await open(), await open()]
    const leaving = await consumer(first, topic)
    await publishRaw(
      first,
      ['a', 'b', 'c'].map((id) => outgoing(topic, { id, key: 'k' })),
    )
    await leaving.take(3)
    await leaving.subscription.drain()
    const [a, ...others] = leaving.deliveries as readonly Delivery[]
    const due = Date.now() + 60_000
    const failures = await leaving.subscription.settle([
      { delivery: a as Delivery, outcome: { type: 'nack', delayMs: 60_000, inOrder: true } },
      ...others.map((delivery) => ({ delivery, outcome: { type: 'release', delayMs: 0 } as const })),
    ])
    assert.deepEqual(failures, [])
    await leaving.close()
    const heir = await consumer(second, topic)
    await heir.take(3)
    assert.deepEqual(heir.ids(), ['a', 'b', 'c'])
    const [again, next] = heir.deliveries
    assert.deepEqual(facts(again as Delivery), { attempt: 2, history: 'returned' })
    assert.ok(Math.abs(((again as Delivery).notBefore ?? 0) - due) < 1_000)
    assert.equal((next as Delivery).notBefore, undefined)
  })

  test('a delay survives that the group changes hands before it is over', async () => {
    const topic = uniqueName('delayed')
    const [first, second] = [await open(), await open()]
    const leaving = await consumer(first, topic)
    await publishRaw(
      first,
      ['a', 'b'].map((id) => outgoing(topic, { id, key: 'k' })),
    )
    await leaving.take(2)
    const [a, b] = leaving.deliveries as [Delivery, Delivery]
    const since = performance.now()
    await leaving.settle([a], { type: 'nack', delayMs: 3_000 })
    await leaving.settle([b])
    // Not closed: its lease runs out, and its heir asks for everything that is pending.
    leaving.subscription.pause()
    await first.close()
    const heir = await consumer(second, topic)
    await heir.take(1)
    assert.deepEqual(heir.ids(), ['a'])
    assert.ok(performance.now() - since >= 2_990)
    assert.equal((heir.deliveries[0] as Delivery).attempt, 2)
  })

  test('a note is forgotten when its message is settled', async () => {
    const topic = uniqueName('forgotten')
    const transport = await open()
    const { api } = await plainClient(server)
    const raw = await consumer(transport, topic)
    await publishRaw(transport, [outgoing(topic)])
    await raw.take(1)
    const [delivery] = raw.deliveries as [Delivery]
    const notes = async (): Promise<number> => {
      const { state } = (await api('STREAM.INFO.busbar_state', { subjects_filter: 'busbar-state.note.>' })) as {
        state: { subjects?: Record<string, number> }
      }
      return Object.keys(state.subjects ?? {}).filter((subject) => subject.endsWith(`.${delivery.position['seq']}`))
        .length
    }
    await raw.subscription.noteAttempts?.([{ delivery, used: 1, running: true, notBefore: undefined }])
    assert.equal(await notes(), 1)
    await raw.settle([delivery])
    await waitUntil(async () => (await notes()) === 0)
  })
})
