import { describe, expect, it } from 'vitest'
import type { OutgoingMessage } from '../../../src/core/message.ts'
import type {
  Delivery,
  Outcome,
  SettlementFailure,
  SubscriptionSpec,
  TransportHost,
} from '../../../src/core/transport.ts'
import { KafkaError } from '../../../src/kafka/errors.ts'
import type { ShareConsumer } from '../../../src/kafka/consumer/share/share-consumer.ts'
import type { ShareConsumerOptions } from '../../../src/kafka/consumer/share/share-options.ts'
import type { KafkaContext } from '../../../src/transports/kafka/context.ts'
import { Reports } from '../../../src/transports/kafka/reports.ts'
import { AcquisitionWindow } from '../../../src/transports/kafka/share/acquisition-window.ts'
import type { ShareDelivery } from '../../../src/transports/kafka/share/share-delivery.ts'
import { ShareSubscription } from '../../../src/transports/kafka/share/share-subscription.ts'
import { Mapping, USED } from '../../../src/transports/kafka/wire/mapping.ts'
import { ConsumerSim, numbers } from '../kafka/consumer/sim-consumer.ts'

const LIMIT = 5
const START = 1_700_000_000_000

/** One process that reads share group `g` of topic `t`, on a simulated cluster. */
class Member {
  readonly sim: ConsumerSim
  readonly subscription: ShareSubscription
  readonly received: Delivery[] = []
  readonly lost: Delivery[] = []
  readonly published: OutgoingMessage[] = []
  readonly topicId: string
  #consumer: ShareConsumer | undefined
  onReceive: (batch: readonly Delivery[]) => void = () => {}
  /** What publishing resolves with. */
  refusal: Error | undefined

  constructor(sim: ConsumerSim, topicId: string, spec: Partial<SubscriptionSpec> = {}, acquireAhead = 0) {
    this.sim = sim
    this.topicId = topicId
    const time = sim.clientClock
    const clock = {
      now: () => START + time.now(),
      monotonic: () => time.now(),
      setTimer: (delayMs: number, fire: () => void) => ({ cancel: time.setTimer(fire, delayMs) }),
    }
    const host = { clock, name: 'main', service: 's', events: { emit: () => {} } } as unknown as TransportHost
    const context = {
      options: { reader: {} },
      host,
      client: {
        shareConsumer: (given: ShareConsumerOptions) => (this.#consumer = sim.shareConsumer({ ...given, group: 'g' })),
      },
      mapping: new Mapping(),
      reports: new Reports(host),
      groupId: (name: string) => name,
    } as unknown as KafkaContext
    this.subscription = new ShareSubscription({
      context,
      spec: {
        topic: 't',
        group: 'g',
        order: 'none',
        ephemeral: false,
        from: 'earliest',
        prefetch: 256,
        prefetchBytes: 16_777_216,
        concurrency: 10,
        attempts: 4,
        maxPerKey: 64,
        consumerId: 'c',
        ...spec,
      },
      options: { acquireAhead },
      deliveryLimit: LIMIT,
      sink: {
        receive: (batch) => {
          this.received.push(...batch)
          this.onReceive(batch)
        },
        lost: (deliveries) => void this.lost.push(...deliveries),
        recall: () => {},
      },
      publish: async (batch) => {
        this.published.push(...batch)
        return batch.map(() =>
          this.refusal === undefined ? { position: undefined } : { error: this.refusal as never },
        )
      },
      onClosed: () => {},
    })
    this.subscription.request(256, 16_777_216)
  }

  settle(deliveries: readonly Delivery[], outcome: Outcome): Promise<readonly SettlementFailure[]> {
    // As the runtime does it.
    this.subscription.request(deliveries.length, deliveries.length * 1_000)
    return this.subscription.settle(deliveries.map((delivery) => ({ delivery, outcome })))
  }

  stateOf(offset: number): string {
    return this.sim.shares.group('g').partition(this.topicId, 0).stateOf(offset, this.sim.clock.now())
  }

  countOf(offset: number): number {
    return this.sim.shares.group('g').partition(this.topicId, 0).countOf(offset)
  }

  /** Its process dies, and says nothing about what it has. */
  async die(): Promise<void> {
    await this.sim.run(this.#consumer?.close({ deadlineMs: 0 }) ?? Promise.resolve())
  }

  async close(): Promise<void> {
    await this.sim.run(this.subscription.close())
  }
}

function setUp(values: readonly string[], spec: Partial<SubscriptionSpec> = {}, acquireAhead = 0): Member {
  const sim = new ConsumerSim({ brokers: 1 })
  const { id } = sim.createTopic('t', 1)
  sim.append('t', 0, values)
  return new Member(sim, id, spec, acquireAhead)
}

async function end(...members: readonly Member[]): Promise<void> {
  for (const member of members) await member.close()
  const [{ sim }] = members as [Member]
  sim.closeClients()
  await sim.advance(1_000)
  expect(sim.clientClock.timers).toBe(0)
}

const ACK: Outcome = { type: 'ack' }

describe('a member of a share group', () => {
  it('acquires what its handlers can take, one at first, and no more while they are busy', async () => {
    const member = setUp(numbers(100), { concurrency: 4 })
    await member.sim.advance(1_000)
    expect(member.received).toHaveLength(1)
    member.onReceive = (batch) => void member.settle(batch, ACK)
    await member.sim.run(member.settle(member.received.slice(), ACK))
    await member.sim.advance(4_000)
    member.onReceive = () => {}
    const { length } = member.received
    expect(length).toBe(100)
    member.sim.append('t', 0, numbers(100))
    await member.sim.advance(5_000)
    expect(member.received).toHaveLength(104)
    expect(numbers(196, 104).map((offset) => member.countOf(Number(offset)))).toEqual(numbers(196).map(() => 0))
    await end(member)
  })

  it('acks when the broker has answered, and says so when it has not', async () => {
    const member = setUp(numbers(1))
    await member.sim.advance(1_000)
    const failures = await member.sim.run(member.settle(member.received, ACK))
    expect(failures).toEqual([])
    expect(member.stateOf(0)).toBe('acknowledged')
    // The verdict is on its way when the broker forgets the session.
    member.sim.append('t', 0, ['1'])
    await member.sim.advance(1_000)
    const [, second] = member.received as [Delivery, Delivery]
    member.sim.shares.evictSessions()
    const refused = await member.sim.run(member.settle([second], ACK))
    expect(refused).toMatchObject([{ index: 0, error: { code: 'BUSBAR_SETTLEMENT' } }])
    await member.sim.advance(2_000)
    const again = member.received.at(-1)
    expect(again).toMatchObject({ history: 'unknown', position: { offset: 1 }, lost: false })
    expect(await member.sim.run(member.settle([again as Delivery], ACK))).toEqual([])
    await end(member)
  })

  it('reports what was lost with its session, once, and takes no outcome for it', async () => {
    const member = setUp(numbers(1))
    await member.sim.advance(1_000)
    member.sim.shares.evictSessions()
    await member.sim.advance(15_000)
    expect(member.lost).toEqual([member.received[0]])
    expect(member.lost[0]?.lost).toBe(true)
    const [failure] = await member.settle(member.lost.slice(), ACK)
    expect(failure?.error.message).toContain('taken back')
    await end(member)
  })

  it('retries under the lock: the broker counts one delivery, however long that takes', async () => {
    const member = setUp(numbers(1))
    await member.sim.advance(1_000)
    for (const attempt of [1, 2, 3]) {
      expect(member.received.at(-1)).toMatchObject({ attempt })
      await member.settle(member.received.slice(-1), { type: 'nack', delayMs: 60_000 })
      await member.sim.advance(59_000)
      expect(member.received).toHaveLength(attempt)
      await member.sim.advance(2_000)
    }
    expect(member.received.map(({ history }) => history)).toEqual(['new', 'returned', 'returned', 'returned'])
    expect(member.countOf(0)).toBe(1)
    await member.sim.run(member.settle(member.received.slice(-1), ACK))
    expect(member.stateOf(0)).toBe('acknowledged')
    await end(member)
  })

  it('goes on with others while messages wait for their next attempt', async () => {
    const member = setUp(numbers(30), { concurrency: 2 })
    member.onReceive = (batch) => {
      const first = batch.filter(({ position }) => Number(position['offset']) < 3)
      void member.settle(first, { type: 'nack', delayMs: 600_000 })
      void member.settle(
        batch.filter((delivery) => !first.includes(delivery)),
        ACK,
      )
    }
    await member.sim.advance(10_000)
    expect(member.received).toHaveLength(30)
    expect([0, 1, 2, 3, 29].map((offset) => member.stateOf(offset))).toEqual([
      ...numbers(3).map(() => 'acquired'),
      'acknowledged',
      'acknowledged',
    ])
    await end(member)
  })

  it('stores a dead letter before its source has a verdict, and leaves the source alone without it', async () => {
    const member = setUp(numbers(1))
    await member.sim.advance(1_000)
    const letter = { topic: 't.g.dlq', headers: {} } as unknown as OutgoingMessage
    member.refusal = new KafkaError('full', { code: 'CLOSED', action: 'fatal', outcome: 'not-sent' })
    const failures = await member.settle(member.received, { type: 'reject', deadLetter: letter })
    expect(failures).toEqual([{ index: 0, error: member.refusal }])
    expect(member.stateOf(0)).toBe('acquired')
    member.refusal = undefined
    expect(await member.sim.run(member.settle(member.received, { type: 'reject', deadLetter: letter }))).toEqual([])
    expect(member.stateOf(0)).toBe('archived')
    expect(member.published).toEqual([letter, letter])
    await end(member)
  })
})

describe('T16: deliveries of a share group', () => {
  it('are not used up by a shutdown: what no handler had was never acquired', async () => {
    const member = setUp(numbers(100), { concurrency: 10 }, 0)
    member.onReceive = (batch) => void member.settle(batch, ACK)
    while (member.received.length < 40) await member.sim.advance(1)
    member.onReceive = () => {}
    await member.sim.advance(5_000)
    const running = member.received.filter((delivery) => !(delivery as ShareDelivery).settled)
    expect(running).toHaveLength(10)
    await member.subscription.drain()
    expect(await member.sim.run(member.settle(running, ACK))).toEqual([])
    await member.close()
    const left = numbers(100).filter((offset) => member.stateOf(Number(offset)) === 'available')
    expect(left.length).toBe(100 - member.received.length)
    expect(left.length).toBeGreaterThan(0)
    expect(new Set(left.map((offset) => member.countOf(Number(offset))))).toEqual(new Set([0]))
    await end(member)
  })

  it('never run out by orderly shutdowns: a copy with its attempts takes the place of a message before its last one', async () => {
    const sim = new ConsumerSim({ brokers: 1 })
    const { id } = sim.createTopic('t', 1)
    sim.append('t', 0, ['a'])
    for (const count of [1, 2, 3]) {
      const member = new Member(sim, id)
      await sim.advance(2_000)
      expect(member.received).toMatchObject([{ attempt: count }])
      await member.close()
      expect([member.published, member.countOf(0), member.stateOf(0)]).toEqual([[], count, 'available'])
    }
    const last = new Member(sim, id)
    await sim.advance(2_000)
    await end(last)
    expect(last.stateOf(0)).toBe('acknowledged')
    expect(last.published).toMatchObject([{ group: 'g', headers: { [USED]: '3' }, deliverAt: undefined }])
    expect(String(last.published[0]?.body)).toBe('a')
  })

  it('are released if the copy can not be stored', async () => {
    const sim = new ConsumerSim({ brokers: 1 })
    const { id } = sim.createTopic('t', 1)
    sim.append('t', 0, ['a'])
    let member = new Member(sim, id)
    for (let count = 1; count < 4; count++) {
      await sim.advance(2_000)
      await member.close()
      member = new Member(sim, id)
    }
    await sim.advance(2_000)
    member.refusal = new Error('down')
    await end(member)
    expect([member.countOf(0), member.stateOf(0)]).toEqual([4, 'available'])
  })

  it('keep the time of a retry through a shutdown, in a copy', async () => {
    const member = setUp(numbers(1))
    await member.sim.advance(1_000)
    await member.settle(member.received, { type: 'nack', delayMs: 60_000 })
    await end(member)
    expect(member.stateOf(0)).toBe('acknowledged')
    expect(member.published).toMatchObject([{ group: 'g', headers: { [USED]: '1' } }])
    expect(member.published[0]?.deliverAt).toBeGreaterThan(START + 60_000)
  })

  it('of a message that kills each process are its attempts, and it takes no others with it', async () => {
    const sim = new ConsumerSim({ brokers: 1 })
    const { id } = sim.createTopic('t', 1)
    sim.append('t', 0, numbers(40))
    const starts = new Map<number, number[]>()
    const letters = new Set<number>()
    for (let process = 0; process < 20 && letters.size === 0; process++) {
      const member = new Member(sim, id)
      let isDead = false
      member.onReceive = (batch) => {
        for (const delivery of batch) {
          const offset = Number(delivery.position['offset'])
          if (isDead) continue
          // What the runtime does with one that has no attempt left.
          if (delivery.attempt > 4) {
            letters.add(offset)
            void member.settle([delivery], { type: 'reject', deadLetter: undefined })
            continue
          }
          starts.set(offset, [...(starts.get(offset) ?? []), delivery.attempt])
          // It says nothing more, and its locks end.
          if (offset === 20) isDead = true
          else void member.settle([delivery], ACK)
        }
      }
      await sim.advance(10_000)
      await (isDead ? member.die() : member.close())
      await sim.advance(40_000)
    }
    sim.closeClients()
    expect([...letters]).toEqual([20])
    expect(starts.get(20)).toEqual([1, 2, 3, 4])
    const innocents = numbers(40)
      .map(Number)
      .filter((offset) => offset !== 20)
    const last = innocents.map((offset) => starts.get(offset)?.at(-1) ?? 0)
    expect(last.every((attempt) => attempt === 1 || attempt === 2)).toBe(true)
  })
})

describe('what stops a member', () => {
  it('a pause gives back what was not handed out, and acquires nothing', async () => {
    const member = setUp(numbers(50), { concurrency: 5 })
    await member.sim.advance(1_000)
    member.subscription.pause()
    await member.sim.run(member.settle(member.received, ACK))
    await member.sim.advance(60_000)
    expect(member.received).toHaveLength(1)
    member.subscription.resume()
    member.onReceive = (batch) => void member.settle(batch, ACK)
    await member.sim.advance(10_000)
    expect(member.received).toHaveLength(50)
    await end(member)
  })

  it('a pause gives back a retry whose time comes, for other members at once', async () => {
    const member = setUp(numbers(1))
    await member.sim.advance(1_000)
    await member.settle(member.received, { type: 'nack', delayMs: 10_000 })
    member.subscription.pause()
    await member.sim.advance(9_000)
    expect(member.stateOf(0)).toBe('acquired')
    await member.sim.advance(2_000)
    expect([member.stateOf(0), member.countOf(0)]).toEqual(['available', 1])
    await end(member)
  })

  it('too much that waits for its time: it takes no more until some is due', async () => {
    const member = setUp(numbers(20), { prefetchBytes: 2_000 })
    member.onReceive = (batch) => void member.settle(batch, { type: 'nack', delayMs: 30_000 })
    await member.sim.advance(20_000)
    const waiting = member.received.length
    expect(waiting).toBeGreaterThan(2)
    expect(waiting).toBeLessThan(16)
    member.onReceive = (batch) => void member.settle(batch, ACK)
    await member.sim.advance(60_000)
    expect(numbers(20).every((offset) => member.stateOf(Number(offset)) === 'acknowledged')).toBe(true)
    await end(member)
  })
})

describe('the window of acquisitions', () => {
  it('doubles with each round up to its limit, and closes to one for a suspect', () => {
    const window = new AcquisitionWindow(10)
    const sizes = [window.size]
    for (let round = 0; round < 5; round++) {
      for (let left = window.size; left > 0; left--) window.ended(false)
      sizes.push(window.size)
    }
    expect(sizes).toEqual([1, 2, 4, 8, 10, 10])
    window.began(true)
    window.ended(false)
    expect(window.size).toBe(1)
    window.ended(true)
    expect(window.size).toBe(2)
  })
})
