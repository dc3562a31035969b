import { describe, expect, it } from 'vitest'
import { KafkaError } from '../../../../src/kafka/errors.ts'
import type { BatchAnswer, Confirmation, OutgoingBatch } from '../../../../src/kafka/producer/partition-queue.ts'
import { Sender } from '../../../../src/kafka/producer/sender.ts'
import type { ProduceOrder, SenderSettings } from '../../../../src/kafka/producer/sender.ts'
import { answer, connectionLost } from './model-cluster.ts'

interface TestBatch extends OutgoingBatch {
  readonly name: string
}

const NOT_ENOUGH_REPLICAS = 19
const REQUEST_TIMED_OUT = 7
const OUT_OF_ORDER = 45
const INVALID_PRODUCER_EPOCH = 47

/** A sender, and what it asks for. */
function setUp(changes: Partial<SenderSettings> = {}, firstEpoch = 0) {
  const orders: ProduceOrder<TestBatch>[] = []
  const settled: string[] = []
  const leaders = new Map<number, number>()
  let ids = 0
  const sender: Sender<TestBatch> = new Sender<TestBatch>(
    {
      isIdempotent: true,
      isTransactional: false,
      maxInFlightPerBroker: 5,
      maxRequestBytes: 1_000,
      random: () => 0.5,
      leaderOf: (_, partition) => leaders.get(partition) ?? 1,
      ...changes,
    },
    {
      close: () => {},
      send: (order) => orders.push(order),
      settled: ({ name }, result) => settled.push(`${name} ${textOf(result)}`),
      refresh: () => {},
      tooLarge: () => {},
      initProducerId: () => sender.identified({ producerId: 100n + BigInt(ids++), producerEpoch: firstEpoch }),
      split: () => {},
    },
  )
  const add = (name: string, { partition = 0, count = 1, size = 10, deadline = 60_000, readyAt = 0 } = {}) =>
    sender.add(sender.queueOf('t', partition), { name, count, size, deadline, readyAt })
  /** The orders since the last call: names with their sequences. */
  const sent = (now = 0) => {
    sender.run(now)
    return orders.splice(0)
  }
  return { sender, leaders, settled, add, sent }
}

function textOf(result: Confirmation | KafkaError): string {
  return result instanceof KafkaError ? `${result.code} ${result.outcome}` : String(result.baseOffset)
}

const namesOf = (orders: readonly ProduceOrder<TestBatch>[]) =>
  orders.map(({ parts }) => parts.map(({ entry }) => `${entry.batch.name}@${entry.baseSequence}`).join(' '))

function first<T>(items: readonly T[]): T {
  const [item] = items
  if (item === undefined) throw new Error('nothing was sent')
  return item
}

const ok: BatchAnswer = answer(0, 7)

describe('a partition', () => {
  it('has one request on the way until one has succeeded, and then five', () => {
    const { sender, add, sent } = setUp()
    for (let index = 0; index < 9; index++) add(`b${index}`, { count: 2 })
    const [probe, ...more] = sent()
    expect(more).toEqual([])
    sender.answered(first([probe].filter((order) => order !== undefined)), [ok], 0)
    const five = sent()
    expect(namesOf(five)).toEqual(['b1@2', 'b2@4', 'b3@6', 'b4@8', 'b5@10'])
    sender.answered(first(five), [ok], 0)
    expect(namesOf(sent())).toEqual(['b6@12'])
  })

  it('has one again after a second of silence: the broker may have forgotten it', () => {
    const { sender, add, sent } = setUp()
    add('a')
    sender.answered(first(sent()), [ok], 0)
    for (const name of ['b', 'c']) add(name)
    expect(namesOf(sent(500))).toEqual(['b@1', 'c@2'])
    const silent = setUp()
    silent.add('a')
    silent.sender.answered(first(silent.sent()), [ok], 0)
    for (const name of ['b', 'c']) silent.add(name)
    expect(namesOf(silent.sent(1_500))).toEqual(['b@1'])
  })

  it('C02: does not send a sixth before the first is resolved', () => {
    const { sender, add, sent, settled } = setUp()
    add('a')
    sender.answered(first(sent()), [ok], 0)
    for (const name of ['1', '2', '3', '4', '5', '6']) add(name)
    const five = sent()
    expect(namesOf(five)).toEqual(['1@1', '2@2', '3@3', '4@4', '5@5'])
    sender.answered(first(five), [answer(REQUEST_TIMED_OUT)], 0)
    for (const order of five.slice(1)) sender.lost(order, connectionLost('unknown'), 0)
    expect(namesOf(sent(10_000))).toEqual(['1@1'])
    expect(settled).toEqual(['a 7'])
  })

  it('returns what is behind a failure, in order, with the same numbers', () => {
    const { sender, add, sent, settled } = setUp()
    add('a')
    sender.answered(first(sent()), [ok], 0)
    for (const name of ['1', '2', '3']) add(name)
    const [one, two, three] = sent()
    if (one === undefined || two === undefined || three === undefined) throw new Error('not three')
    sender.answered(one, [answer(NOT_ENOUGH_REPLICAS)], 0)
    sender.answered(two, [answer(OUT_OF_ORDER)], 0)
    sender.answered(three, [answer(OUT_OF_ORDER)], 0)
    expect(sent(10)).toEqual([])
    const again = sent(1_000)
    expect(namesOf(again)).toEqual(['1@1'])
    sender.answered(first(again), [ok], 1_000)
    expect(namesOf(sent(1_000))).toEqual(['2@2', '3@3'])
    expect(settled).toEqual(['a 7', '1 7'])
  })

  it('waits for the answers of the old leader before it sends to the new one', () => {
    const { sender, leaders, add, sent } = setUp()
    add('a')
    sender.answered(first(sent()), [ok], 0)
    add('b')
    const onTheWay = first(sent())
    leaders.set(0, 2)
    sender.leaderChanged('t', 0)
    add('c')
    expect(sent()).toEqual([])
    sender.lost(onTheWay, connectionLost('unknown'), 0)
    sender.leaderChanged('t', 0)
    const moved = sent(0)
    expect([namesOf(moved), moved[0]?.broker]).toEqual([['b@1'], 2])
  })

  it('leaves the line of a broker that does not answer when it gets another leader', () => {
    const { leaders, sender, add, sent } = setUp({ maxInFlightPerBroker: 1 })
    add('a')
    expect(namesOf(sent())).toEqual(['a@0'])
    // Broker 1 has a request that it does not answer, of another partition.
    add('b', { partition: 1 })
    expect(sent()).toEqual([])
    leaders.set(1, 2)
    sender.leaderChanged('t', 1)
    expect(sent().map(({ broker, parts }) => [broker, parts[0]?.entry.batch.name])).toEqual([[2, 'b']])
  })

  it('is sent to its new leader in the turn in which it leaves the line of the old one', () => {
    const { leaders, sender, add, sent } = setUp()
    leaders.set(1, 2)
    // Broker 2 is looked at before broker 1.
    add('x', { partition: 1 })
    sender.answered(first(sent()), [ok], 0)
    add('a')
    sender.lost(first(sent()), connectionLost('not-sent'), 0)
    // Somebody else has learned of it.
    leaders.set(0, 2)
    expect(sent(1_000).map(({ broker }) => broker)).toEqual([2])
  })

  it('takes back the numbers of what was never written', () => {
    const { sender, add, sent, settled } = setUp()
    add('a', { count: 3 })
    sender.answered(first(sent()), [ok], 0)
    add('b', { deadline: 1_000 })
    sender.lost(first(sent()), connectionLost('not-sent'), 0)
    sender.run(1_000)
    expect(settled).toEqual(['a 7', 'b DELIVERY_TIMEOUT not-sent'])
    add('c')
    expect(namesOf(sent(5_000))).toEqual(['c@3'])
  })

  it('goes on from number 0 after the last one of 31 bits', () => {
    const { sender, add, sent } = setUp()
    add('a', { count: 2 ** 31 - 2 })
    sender.answered(first(sent()), [ok], 0)
    add('b', { count: 5 })
    add('c')
    expect(namesOf(sent())).toEqual([`b@${2 ** 31 - 2}`, 'c@3'])
  })

  it('waits for its linger, but not when another batch is behind it', () => {
    const { sender, add, sent } = setUp()
    add('a', { readyAt: 50 })
    expect(sent(10)).toEqual([])
    expect(sender.wakeAt).toBe(50)
    expect(namesOf(sent(50))).toEqual(['a@0'])
    const full = setUp()
    full.add('a', { readyAt: 50 })
    full.add('b', { readyAt: 60 })
    expect(namesOf(full.sent(10))).toEqual(['a@0'])
  })
})

describe('a producer id', () => {
  it('gets a new epoch for a gap, and a new id after the last epoch', () => {
    for (const [epoch, next] of [
      [0, { producerId: 100n, producerEpoch: 1 }],
      [32_767, { producerId: 101n, producerEpoch: 32_767 }],
    ] as const) {
      const { sender, add, sent } = setUp({}, epoch)
      add('a', { count: 4 })
      sender.answered(first(sent()), [ok], 0)
      add('b')
      sender.answered(first(sent()), [answer(OUT_OF_ORDER)], 0)
      const again = sent(5_000)
      expect([namesOf(again), again[0]?.parts[0]?.identity]).toEqual([['b@0'], next])
    }
  })

  it('is replaced when the broker knows a newer epoch of it', () => {
    const { sender, add, sent } = setUp()
    add('a')
    sender.answered(first(sent()), [answer(INVALID_PRODUCER_EPOCH)], 0)
    expect(sent(5_000)[0]?.parts[0]?.identity).toEqual({ producerId: 101n, producerEpoch: 0 })
  })

  it('keeps its epoch at other partitions until nothing of theirs is unresolved', () => {
    const { sender, add, sent } = setUp()
    add('a', { partition: 0 })
    add('x', { partition: 1 })
    sender.answered(first(sent()), [ok, ok], 0)
    add('b', { partition: 0 })
    add('y', { partition: 1 })
    sender.answered(first(sent()), [answer(OUT_OF_ORDER), answer(NOT_ENOUGH_REPLICAS)], 0)
    const epochs = (orders: readonly ProduceOrder<TestBatch>[]) =>
      orders.flatMap(({ parts }) => parts.map(({ entry, identity }) => `${entry.batch.name} ${identity.producerEpoch}`))
    const again = sent(5_000)
    expect(epochs(again).toSorted()).toEqual(['b 1', 'y 0'])
    for (const order of again)
      sender.answered(
        order,
        order.parts.map(() => ok),
        5_000,
      )
    add('z', { partition: 1 })
    expect(epochs(sent(5_000))).toEqual(['z 1'])
  })
})

describe('a broker', () => {
  it('gets one batch of each partition in a request, up to its size, and every partition its turn', () => {
    const { sender, add, sent } = setUp({ maxInFlightPerBroker: 1 })
    for (const round of [1, 2])
      for (let partition = 0; partition < 4; partition++) add(`${partition}.${round}`, { partition, size: 400 })
    const seen: string[] = []
    for (let request = 0; request < 3; request++) {
      const order = first(sent())
      seen.push(...order.parts.map(({ entry }) => entry.batch.name))
      expect(order.parts.length).toBeLessThanOrEqual(3)
      sender.answered(
        order,
        order.parts.map(() => ok),
        0,
      )
    }
    expect(seen.slice(0, 4).toSorted()).toEqual(['0.1', '1.1', '2.1', '3.1'])
    expect(seen).toHaveLength(8)
  })

  it('is left alone for a growing time when it can not be reached', () => {
    const { sender, add, sent } = setUp()
    add('a')
    let requests = 0
    for (let now = 0; now < 10_000; now += 10) {
      for (const order of sent(now)) {
        requests++
        sender.lost(order, connectionLost('not-sent'), now)
      }
    }
    expect(requests).toBeGreaterThan(8)
    expect(requests).toBeLessThan(20)
  })

  it('without numbers, gets one batch of a partition at a time', () => {
    const { sender, add, sent } = setUp({ isIdempotent: false })
    add('a')
    add('b')
    const order = first(sent())
    expect(order.parts[0]?.identity.producerId).toBe(-1n)
    sender.answered(order, [ok], 0)
    add('c')
    expect(namesOf(sent())).toHaveLength(1)
  })
})
