import { describe, expect, test } from 'vitest'
import { compilePattern } from '../../src/core/topic.ts'
import { waitUntil } from '../../src/testing/wait-until.ts'
import { defer, errorOf, lagOf, many, newFile, newHost, open, outgoing, query, read, store } from './sqlite-harness.ts'

describe('messages in the file', () => {
  test('come out as they went in, after the file was closed and opened again', async () => {
    const path = newFile()
    const first = await open(path)
    const headers = Object.assign(Object.create(null) as Record<string, string>, { a: '1', constructor: 'x', ü: 'ß' })
    const full = outgoing('orders.placed', {
      type: 'OrderPlaced',
      source: 'shop',
      time: 1_700_000_000_123,
      key: 'k\u{1f600}',
      contentType: 'application/x-thing',
      subject: 'subject',
      dataSchema: 'https://example.org/schema',
      version: 7,
      correlationId: 'other',
      causationId: 'cause',
      traceparent: '00-1-2-01',
      tracestate: 'a=b',
      expiresAt: 4_000_000_000_000,
      headers,
      body: Uint8Array.of(0, 255, 1, 254),
    })
    const own = outgoing('orders.placed', { id: 'own', correlationId: 'own', body: new Uint8Array(0) })
    const plain = outgoing('orders.placed')
    await store(first.transport, [full, own, plain])
    await first.transport.close()

    const { transport } = await open(path)
    const reader = await read(transport, 'orders.placed', 'g')
    reader.request(10)
    const [a, b, c] = await reader.take(3)
    for (const [delivery, sent] of [
      [a, full],
      [b, own],
      [c, plain],
    ] as const) {
      const { deliverAt: _, group: __, body, ...envelope } = sent
      const { body: gotBody, ...got } = delivery!.message
      expect(got).toEqual(envelope)
      // Bytes, of whatever class.
      expect([...(gotBody ?? [])]).toEqual([...(body ?? [])])
    }
    expect(Object.getPrototypeOf(a!.message.headers)).toBe(null)
    expect(a!.message.headers['toString']).toBeUndefined()
  })

  test('are confirmed with positions that rise, each batch as a whole', async () => {
    const { transport } = await open(newFile())
    const [first, second] = await Promise.all([store(transport, many(1_000, 'a')), store(transport, many(5_000, 'b'))])
    expect(first).toEqual(Array.from({ length: 1_000 }, (_, index) => index + 1))
    expect(second).toEqual(Array.from({ length: 5_000 }, (_, index) => index + 1_001))
  })

  test('with an id that the topic has are stored once; other topics, dead letters and redrives are not concerned', async () => {
    const { transport } = await open(newFile())
    const message = outgoing('a.b', { id: 'same' })
    const [first] = await store(transport, [message])
    expect(await store(transport, [outgoing('a.b'), message, outgoing('a.b', { id: 'same', key: 'x' })])).toEqual([
      2,
      first,
      first,
    ])
    expect(await store(transport, [{ ...message, topic: 'a.c' }])).toEqual([3])
    const letter = { ...message, topic: 'a.b.g.dlq' }
    expect(await store(transport, [letter, letter])).toEqual([4, 5])
    expect(await store(transport, [{ ...message, group: 'g' }])).toEqual([6])
    expect((await transport.admin.topics()).map(({ topic, messages }) => [topic, messages])).toEqual([
      ['a.b', 3],
      ['a.b.g.dlq', 2],
      ['a.c', 1],
    ])
  })

  test('that are too large fail alone, before anything is sent', async () => {
    const { transport } = await open(newFile(), { maxMessageBytes: 1_000 })
    const outcomes = await transport.publish([
      outgoing('a', { id: 'small' }),
      outgoing('a', { body: new Uint8Array(1_001) }),
      outgoing('a', { headers: { h: 'x'.repeat(999) } }),
      outgoing('a', { body: new Uint8Array(1_000) }),
    ])
    expect(outcomes.map(({ error }) => error?.outcome)).toEqual([undefined, 'not-sent', 'not-sent', undefined])
    expect(errorOf(outcomes[1]).message).toMatch(/1001 bytes.*1000.*maxMessageBytes/)
    expect(await transport.admin.read('a', { limit: 10 })).toHaveLength(2)
  })

  test('are not lost to an aborted wait: what was not handed over is not sent, the rest is unknown', async () => {
    const { transport } = await open(newFile())
    const [before] = await transport.publish([outgoing('a')], { signal: AbortSignal.abort() })
    expect(errorOf(before).outcome).toBe('not-sent')
    const controller = new AbortController()
    const publishing = transport.publish([outgoing('a')], { signal: controller.signal })
    controller.abort(new Error('enough'))
    const [during] = await publishing
    expect(errorOf(during)).toMatchObject({ outcome: 'unknown', cause: { message: 'enough' } })
    expect(await transport.admin.read('a', { limit: 10 })).toHaveLength(1)
  })

  test('keep their order over calls, also when a large batch goes over in pieces', async () => {
    const { transport } = await open(newFile())
    const large = store(
      transport,
      many(7_000, 'a', (index) => ({ id: `large-${index}` })),
    )
    const small = store(
      transport,
      many(3, 'a', (index) => ({ id: `small-${index}` })),
    )
    expect((await large).at(-1)).toBeLessThan((await small)[0]!)
  })
})

describe('replay', () => {
  test('starts at a position, at an instant, at either end', async () => {
    const { transport } = await open(newFile())
    const seqs = await store(
      transport,
      many(5, 'a', (index) => ({ id: `old-${index}` })),
    )
    const oldest = (await transport.admin.topics())[0]!.oldestAt!
    await waitUntil(() => Date.now() > oldest + 5)
    const between = Date.now()
    await waitUntil(() => Date.now() > between)
    await store(transport, many(5, 'b'))
    await store(
      transport,
      many(2, 'a', (index) => ({ id: `new-${index}` })),
    )

    const starts = {
      position: { position: { seq: seqs[3]! } },
      time: { timeMs: between },
      future: { timeMs: Date.now() + 1e6 },
      past: { timeMs: 0 },
      earliest: 'earliest',
      latest: 'latest',
    } as const
    const first: Record<string, string | undefined> = {}
    for (const [group, from] of Object.entries(starts)) {
      const reader = await read(transport, 'a', group, { from })
      reader.request(100)
      const lag = await lagOf(transport, 'a', group)
      await reader.take(lag!)
      expect(reader.received).toHaveLength(lag!)
      first[group] = reader.ids()[0]
    }
    expect(first).toEqual({
      position: 'old-3',
      time: 'new-0',
      future: undefined,
      past: 'old-0',
      earliest: 'old-0',
      latest: undefined,
    })
  })

  test('refuses a position of some other transport', async () => {
    const { transport } = await open(newFile())
    await expect(read(transport, 'a', 'g', { from: { position: { offset: 3 } } })).rejects.toThrow(/\{ seq: 42 \}/)
    await expect(transport.admin.seek('a', 'g', { position: { seq: 'x' } })).rejects.toThrow(/\{ seq: 42 \}/)
  })

  test('after a seek takes back what is out, and a late settle of it touches nothing', async () => {
    const { transport } = await open(newFile())
    await store(transport, many(3, 'a'))
    const reader = await read(transport, 'a', 'g')
    reader.request(100)
    const old = await reader.take(3)
    await transport.admin.seek('a', 'g', 'earliest')
    await waitUntil(() => reader.lost.length === 3)
    expect(old.every(({ lost }) => lost)).toBe(true)
    const again = (await reader.take(6)).slice(3)
    expect(again.map(({ attempt }) => attempt)).toEqual([1, 1, 1])
    expect(await reader.ack(...old)).toHaveLength(3)
    expect(await lagOf(transport, 'a', 'g')).toBe(3)
    expect(await reader.ack(...again)).toEqual([])
    expect(await lagOf(transport, 'a', 'g')).toBe(0)
  })

  test('by another process is noticed by those who hold deliveries', async () => {
    const path = newFile()
    const [one, two] = [await open(path), await open(path)]
    await store(one.transport, many(3, 'a'))
    const reader = await read(one.transport, 'a', 'g')
    reader.request(3)
    const old = await reader.take(3)
    await two.transport.admin.seek('a', 'g', 'latest')
    await waitUntil(() => reader.lost.length === 3)
    expect(await reader.ack(...old)).toHaveLength(3)
  })

  test('keeps copies that are for the group alone', async () => {
    const { transport } = await open(newFile())
    await store(transport, [outgoing('a', { id: 'all' }), outgoing('a', { id: 'mine', group: 'g' })])
    await transport.admin.seek('a', 'g', 'latest')
    const reader = await read(transport, 'a', 'g')
    reader.request(10)
    await reader.take(1)
    await transport.admin.seek('a', 'g', 'earliest')
    await reader.take(3)
    expect(reader.ids()).toEqual(['mine', 'mine', 'all'])
  })
})

describe('copies for one group', () => {
  test('reach that group alone, exist before it does, and are removed after the ack', async () => {
    const { transport } = await open(newFile())
    await store(transport, [outgoing('a', { id: 'copy', group: 'late' }), outgoing('a', { id: 'all' })])
    const other = await read(transport, 'a', 'other')
    other.request(10)
    await other.take(1)
    const late = await read(transport, 'a', 'late', { from: 'latest' })
    late.request(10)
    const deliveries = await late.take(1)
    await store(transport, [outgoing('a', { id: 'last' })])
    await other.take(2)
    await late.take(2)
    expect([other.ids(), late.ids()]).toEqual([
      ['all', 'last'],
      ['copy', 'last'],
    ])
    await late.ack(...deliveries)
    const stored = await transport.admin.read('a', { limit: 10 })
    expect(stored.map(({ message }) => message.id)).toEqual(['all', 'last'])
  })
})

describe('patterns', () => {
  test('a group that subscribed once misses no topic that appears while it is away', async () => {
    const path = newFile()
    const one = await open(path)
    const first = await read(one.transport, 'orders.>', 'g', { from: 'latest' })
    await first.subscription.close()
    await one.transport.close()
    const two = await open(path)
    await store(two.transport, [outgoing('orders.eu.placed', { id: 'missed' }), outgoing('other', { id: 'no' })])
    expect(await lagOf(two.transport, 'orders.eu.placed', 'g')).toBe(1)
    const reader = await read(two.transport, 'orders.>', 'g', { from: 'latest' })
    reader.request(10)
    await reader.take(1)
    expect(reader.ids()).toEqual(['missed'])
  })

  test('a topic that another process makes is followed from its first message', async () => {
    const path = newFile()
    const [one, two] = [await open(path), await open(path)]
    const reader = await read(one.transport, 'orders.*', 'g')
    reader.request(100)
    await store(two.transport, many(3, 'orders.placed'))
    await reader.take(3)
    expect(await reader.ack(...reader.received)).toEqual([])
    expect(await lagOf(two.transport, 'orders.placed', 'g')).toBe(0)
  })

  test('no topic of a pattern starves while another has a backlog', async () => {
    const { transport } = await open(newFile())
    await store(transport, many(5_000, 'a.big'))
    await store(transport, many(5, 'a.small'))
    const reader = await read(transport, 'a.*', 'g')
    reader.onDelivery = (delivery) => {
      void reader.ack(delivery)
      reader.request(1, delivery.bytes)
    }
    reader.request(10)
    await waitUntil(() => reader.received.filter(({ message }) => message.topic === 'a.small').length === 5)
    expect(reader.received.length).toBeLessThan(4_000)
  })

  test('a deleted group is forgotten with its pattern', async () => {
    const { transport } = await open(newFile())
    const reader = await read(transport, 'a.*', 'g')
    await store(transport, many(2, 'a.b'))
    reader.request(1)
    await reader.take(1)
    await reader.subscription.close()
    await transport.admin.deleteGroup('a.*', 'g')
    await store(transport, many(2, 'a.c'))
    expect(await transport.admin.groups()).toEqual([])
  })

  test.each(['a.b', 'a.*'])(
    'a group of %s that is deleted while it is consumed continues where it was',
    async (topic) => {
      const path = newFile()
      const [one, two] = [await open(path), await open(path)]
      await store(one.transport, many(1, 'a.b'))
      const [here, there] = [await read(one.transport, topic, 'g'), await read(two.transport, topic, 'g')]
      here.request(1)
      const [out] = await here.take(1)
      await two.transport.admin.deleteGroup(topic, 'g')
      await waitUntil(() => here.lost.length === 1)
      expect(await here.ack(out!)).toHaveLength(1)
      const warned = ({ told }: typeof one): boolean =>
        told.some(({ event }) => 'code' in event && event.code === 'sqlite-group-deleted')
      await waitUntil(() => warned(one) && warned(two))
      here.request(10)
      there.request(10)
      const ids = many(6, 'a.b').concat(topic === 'a.*' ? many(6, 'a.c') : [])
      await store(one.transport, ids)
      await waitUntil(() => here.received.length - 1 + there.received.length === ids.length)
      // A row that was deleted behind our back is made again as well.
      await here.ack(...here.received.slice(1))
      await there.ack(...there.received)
      query(path, "DELETE FROM groups WHERE topic_id = (SELECT id FROM topics WHERE name = 'a.b') RETURNING id")
      const more = many(6, 'a.b')
      await store(one.transport, more)
      // A member that had not looked since the last ack makes it where it had read to: some come twice then.
      await waitUntil(() => more.every(({ id }) => here.ids().includes(id) || there.ids().includes(id)))
    },
  )

  test('a pattern of a hundred topics delivers everything, each topic in order', async () => {
    const { transport } = await open(newFile())
    const reader = await read(transport, 'a.>', 'g')
    const matches = compilePattern('a.>')
    const sent = many(3_000, 'x', (index) => ({ topic: `a.t${index % 100}`, key: 'k', id: `p-${index}` }))
    expect(sent.every(({ topic }) => matches(topic))).toBe(true)
    await store(transport, sent)
    reader.request(10_000)
    await reader.take(3_000)
    for (const topic of new Set(sent.map((message) => message.topic))) {
      const got = reader.received.filter(({ message }) => message.topic === topic).map(({ message }) => message.id)
      expect(got).toEqual(sent.filter((message) => message.topic === topic).map(({ id }) => id))
    }
  })
})

describe('delayed messages', () => {
  test('count as lag, not as ready; wait for their time; then come in order of their times', async () => {
    const { transport } = await open(newFile())
    const now = Date.now()
    await store(transport, [
      outgoing('a', { id: 'third', deliverAt: now + 1_500, key: 'k' }),
      outgoing('a', { id: 'second', deliverAt: now + 1_200, key: 'k' }),
      outgoing('a', { id: 'first', key: 'k' }),
    ])
    const reader = await read(transport, 'a', 'g')
    reader.request(10)
    const [first] = await reader.take(1)
    await reader.ack(first!)
    expect(await transport.admin.groups('a')).toMatchObject([{ lag: 2, ready: 0, inFlight: 0 }])
    await reader.take(3)
    expect(Date.now()).toBeGreaterThanOrEqual(now + 1_500)
    expect(reader.ids()).toEqual(['first', 'second', 'third'])
  })

  test('thousands that fall due together all come, and a far one keeps no poll busy', async () => {
    const path = newFile()
    const { transport } = await open(path)
    const due = Date.now() + 200
    await store(
      transport,
      many(3_000, 'a', () => ({ deliverAt: due })),
    )
    await store(transport, [outgoing('a', { deliverAt: due + 1e7 })])
    const reader = await read(transport, 'a', 'g')
    reader.request(10_000)
    await reader.take(3_000)
    expect(new Set(reader.ids()).size).toBe(3_000)
    await reader.ack(...reader.received)
    expect(await lagOf(transport, 'a', 'g')).toBe(1)
  })
})

describe('groups that are for one subscription', () => {
  test('are forgotten with it, and leave nothing in the file', async () => {
    const path = newFile()
    const { transport } = await open(path)
    const reader = await read(transport, 'a.*', 'me', { ephemeral: true, from: 'latest' })
    await store(transport, many(3, 'a.b'))
    reader.request(2)
    await reader.take(2)
    expect(await transport.admin.groups()).toHaveLength(1)
    await reader.subscription.close()
    expect(await transport.admin.groups()).toEqual([])
    await transport.close()
    for (const table of ['groups', 'claims', 'parked', 'delayed', 'owners', 'patterns', 'processes'])
      expect(query(path, `SELECT * FROM ${table}`)).toEqual([])
  })
})

describe('admin', () => {
  test('reads page by page, also when bodies are large', async () => {
    const { transport } = await open(newFile())
    await store(
      transport,
      many(12, 'a', () => ({ body: new Uint8Array(1 << 20) })),
    )
    const stored = await transport.admin.read('a', { limit: 11 })
    expect(stored).toHaveLength(11)
    const rest = await transport.admin.read('a', { after: stored.at(-1)!.position, limit: 10 })
    expect(rest).toHaveLength(1)
    expect(await transport.admin.read('nobody', { limit: 5 })).toEqual([])
  })

  test('removes single messages: they are not delivered any more, and the lag says so', async () => {
    const { transport } = await open(newFile())
    const seqs = await store(
      transport,
      many(4, 'a', (index) => ({ id: `r-${index}`, key: 'k' })),
    )
    const reader = await read(transport, 'a', 'g')
    reader.request(1)
    const [out] = await reader.take(1)
    const positions = [seqs[0]!, seqs[2]!, 99].map((seq) => ({ seq }))
    expect(await transport.admin.remove('a', positions)).toBe(2)
    expect(await lagOf(transport, 'a', 'g')).toBe(3)
    expect(await reader.ack(out!)).toEqual([])
    expect(await lagOf(transport, 'a', 'g')).toBe(2)
    reader.request(10)
    await reader.take(3)
    expect(reader.ids()).toEqual(['r-0', 'r-1', 'r-3'])
  })

  test('purges a topic with everything that groups still had to do', async () => {
    const { transport } = await open(newFile())
    await store(transport, many(4_500, 'a'))
    await store(transport, [outgoing('b')])
    const reader = await read(transport, 'a', 'g')
    reader.request(2)
    await reader.take(2)
    expect(await transport.admin.purge('a')).toBe(4_500)
    await waitUntil(() => reader.lost.length === 2)
    expect(await transport.admin.groups('a')).toMatchObject([{ lag: 0, inFlight: 0, oldestUnackedAt: undefined }])
    expect(await transport.admin.topics()).toMatchObject([
      { topic: 'a', messages: 0, bytes: 0 },
      { topic: 'b', messages: 1 },
    ])
    const [seq] = await store(transport, [outgoing('a')])
    reader.request(2)
    expect((await reader.take(3))[2]!.position).toEqual({ seq })
  })

  test('reports members of all processes, and the age of the oldest message not acked', async () => {
    const path = newFile()
    const [one, two] = [await open(path), await open(path)]
    await store(one.transport, many(2, 'a.b'))
    const reader = await read(one.transport, 'a.b', 'g')
    await read(two.transport, 'a.*', 'g')
    await read(two.transport, 'other', 'g')
    const oldest = (await one.transport.admin.topics())[0]!.oldestAt
    expect(await two.transport.admin.groups('a.b')).toEqual([
      {
        topic: 'a.b',
        group: 'g',
        lag: 2,
        inFlight: 0,
        ready: 2,
        members: 2,
        oldestUnackedAt: oldest,
        partitions: [
          {
            partition: '0',
            lag: 2,
            inFlight: 0,
            ready: 2,
            oldestUnackedAt: oldest,
            position: undefined,
            head: { seq: 2 },
            start: { seq: 1 },
          },
        ],
      },
    ])
    reader.request(2)
    await reader.ack(...(await reader.take(2)))
    const done = { position: { seq: 2 }, head: { seq: 2 }, start: { seq: 1 } }
    expect(await two.transport.admin.groups('a.b')).toMatchObject([
      { lag: 0, oldestUnackedAt: undefined, partitions: [done] },
    ])
    // What it has settled is deleted: its place in the log stays.
    await two.transport.admin.purge('a.b')
    expect((await two.transport.admin.groups('a.b'))[0]?.partitions).toMatchObject([
      { lag: 0, position: { seq: 2 }, head: undefined, start: undefined },
    ])
  })
})

describe('options and life', () => {
  test('a transport belongs to one bus, refuses work before open and after close, and closes twice', async () => {
    const path = newFile()
    const { transport } = await open(path)
    await expect(transport.open(newHost().host)).rejects.toThrow(/one bus/)
    await transport.close()
    await transport.close()
    await expect(transport.publish([outgoing('a')])).rejects.toThrow(/closed/)
    await expect(transport.admin.topics()).rejects.toThrow(/closed/)
    expect(transport.health()).toMatchObject({ connected: false })
  })

  test('closing gives everything back at once, for others to take', async () => {
    const path = newFile()
    const [one, two] = [await open(path), await open(path)]
    await store(one.transport, many(3, 'a'))
    const first = await read(one.transport, 'a', 'g')
    first.request(3)
    const [released] = await first.take(3)
    await first.settle([released!], { type: 'release', delayMs: 0 })
    await one.transport.close()
    const second = await read(two.transport, 'a', 'g')
    second.request(3)
    expect((await second.take(3)).map(({ attempt, history }) => [attempt, history])).toEqual([
      [1, 'returned'],
      [1, 'returned'],
      [1, 'returned'],
    ])
  })

  test('what arrives after pause goes back untouched, and comes again after resume', async () => {
    const { transport } = await open(newFile())
    const reader = await read(transport, 'a', 'g')
    reader.request(100)
    const stored = store(transport, many(50, 'a'))
    reader.subscription.pause()
    await stored
    expect(reader.received).toEqual([])
    await waitUntil(async () => (await transport.admin.groups('a'))[0]?.inFlight === 0)
    reader.subscription.resume()
    expect((await reader.take(50)).every(({ attempt, history }) => attempt === 1 && history === 'new')).toBe(true)
  })

  test('drain stops intake for good, while what is out can be settled', async () => {
    const { transport } = await open(newFile())
    await store(transport, many(2, 'a'))
    const reader = await read(transport, 'a', 'g')
    reader.request(1)
    const out = await reader.take(1)
    await reader.subscription.drain()
    reader.request(10)
    await store(transport, many(2, 'a'))
    expect(await reader.ack(...out)).toEqual([])
    expect(await transport.admin.groups('a')).toMatchObject([{ lag: 3, inFlight: 0 }])
    expect(reader.received).toHaveLength(1)
    defer(() => expect(reader.received).toHaveLength(1))
  })
})
