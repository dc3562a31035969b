import { describe, expect, it } from 'vitest'
import { createClient } from '../../../src/kafka/index.ts'
import type { KafkaClient } from '../../../src/kafka/index.ts'
import { watch } from './producer/producer-setup.ts'
import { SimCluster } from './sim/sim-cluster.ts'

const BROKERS = [1, 2, 3]

function setUp(): { readonly sim: SimCluster; readonly kafka: KafkaClient } {
  const sim = new SimCluster()
  sim.createTopic('t', 2)
  return { sim, kafka: createClient(sim.clientOptions()) }
}

describe('offsets of a topic', () => {
  it('are asked for once of each leader, and again where a leader has moved', async () => {
    const sim = new SimCluster()
    const partitions = 30
    sim.createTopic('many', partitions)
    const kafka = createClient(sim.clientOptions())
    const asked = () => sim.requests.filter(({ api }) => api === 'ListOffsets').length
    const { records } = kafka.admin()
    const all = await sim.run(records.offsets('many', 'latest'))
    expect(all.map(({ partition }) => partition)).toEqual(Array.from({ length: partitions }, (_, index) => index))
    expect(asked()).toBe(BROKERS.length)
    sim.script.on('ListOffsets', 1, { do: 'close' })
    sim.script.on('ListOffsets', 2, { do: 'error', code: 6 })
    expect(await sim.run(records.offsets('many', 'latest'))).toEqual(all)
    expect(asked()).toBeLessThanOrEqual(3 * BROKERS.length)
    await sim.run(kafka.close())
  })

  it('of a topic that does not exist are waited for 10 seconds at most', async () => {
    const { sim, kafka } = setUp()
    const { records, offsets } = kafka.admin({ timeoutMs: 60_000 })
    for (const call of [() => records.offsets('none', 'latest'), () => offsets.reset('g', ['none'], 'earliest')]) {
      const start = sim.clock.now()
      expect(await sim.run(call().catch((reason: unknown) => reason))).toMatchObject({ code: 'NOT_FOUND' })
      expect(sim.clock.now() - start).toBeLessThanOrEqual(11_000)
    }
    await sim.run(kafka.close())
  })
})

describe('offsets of a group', () => {
  it('that a transaction may still change are waited for, or those before it are the answer at once', async () => {
    const { sim, kafka } = setUp()
    const { offsets } = kafka.admin()
    const at = (offset: number) => ({ topic: 't', partition: 0, offset })
    await sim.run(offsets.alter('g', [at(3)]))
    // The transaction has been committed, and the group has not been told yet.
    sim.transactions.completionMs = 5_000
    const producer = kafka.producer({ transactionalId: true })
    const group = { groupId: 'g', generationId: -1, memberId: '' }
    await sim.run(producer.transaction((tx) => tx.offsets(group, [at(7)])))
    const stable = watch(sim, offsets.list('g'))
    const start = sim.clock.now()
    expect(await sim.run(offsets.list('g', { requireStable: false }))).toMatchObject([at(3)])
    expect(sim.clock.now() - start).toBeLessThan(1_000)
    expect(stable).toEqual({})
    await sim.advance(10_000)
    expect(stable.value).toMatchObject([at(7)])
    await sim.run(kafka.close())
  })
})

describe('a transaction that its producer has left open', () => {
  it('is aborted by fencing its id: offsets and readers wait no longer, and its producer can not commit it', async () => {
    const { sim, kafka } = setUp()
    const { offsets, transactions } = kafka.admin()
    const at = (offset: number) => ({ topic: 't', partition: 0, offset })
    await sim.run(offsets.alter('g', [at(3)]))
    const producer = kafka.producer({ transactionalId: 'left', transactionTimeoutMs: 60_000 })
    const hanging = Promise.withResolvers<void>()
    const ended = producer
      .transaction(async (tx) => {
        await tx.send({ topic: 't', value: 'a', partition: 0 })
        await hanging.promise
      })
      .catch((error: unknown) => error)
    await sim.advance(1_000)
    const start = sim.clock.now()
    await sim.run(transactions.fence('left'))
    expect(sim.clock.now() - start).toBeLessThan(5_000)
    hanging.resolve()
    expect(await sim.run(ended)).toMatchObject({ action: 'fenced' })
    // One that was never used has nothing to abort.
    await sim.run(transactions.fence('new'))
    await sim.run(kafka.close())
  })
})

describe('an admin call that the cluster refuses', () => {
  it('has certainly not been carried out when the topic does not exist', async () => {
    const { sim, kafka } = setUp()
    const error = await sim.run(
      kafka
        .admin()
        .topics.delete(['none'])
        .catch((reason: unknown) => reason),
    )
    expect(error).toMatchObject({
      message:
        'delete topic none failed with UNKNOWN_TOPIC_OR_PARTITION (3): the cluster has no such topic or partition',
      action: 'fatal',
      outcome: 'rejected',
    })
    const some = await sim.run(
      kafka
        .admin()
        .topics.delete(['t', 'none'])
        .catch((reason: unknown) => reason),
    )
    expect(some).toMatchObject({ name: 'PartialFailureError', outcome: 'rejected' })
    await sim.run(kafka.close())
  })

  it.each(['classic', 'consumer'] as const)('says that a %s group has members', async (protocol) => {
    const { sim, kafka } = setUp()
    const consumer = kafka.consumer({ topics: ['t'], group: 'g', protocol })
    const running = consumer.run({ handler: () => {} })
    await sim.advance(10_000)
    expect(consumer.assignment).toHaveLength(2)
    const { offsets } = kafka.admin()
    const refused = {
      message: 'alter offsets of group g failed: the group has members; stop them first (the broker answered 25)',
      name: 'KafkaError',
      code: 'NON_EMPTY_GROUP',
      outcome: 'rejected',
    }
    const reset = () => offsets.reset('g', ['t'], 'earliest').catch((reason: unknown) => reason)
    expect(await sim.run(reset())).toMatchObject(refused)
    await sim.run(consumer.close())
    await sim.run(running)
    expect(await sim.run(reset())).toBeUndefined()
    await sim.run(kafka.close())
  })
})

describe('an admin call that needs the partitions of a topic', () => {
  it.each([
    ['records.offsets', (kafka: KafkaClient) => kafka.admin().records.offsets('none', 'latest')],
    ['offsets.reset', (kafka: KafkaClient) => kafka.admin().offsets.reset('g', ['t', 'none'], 'earliest')],
  ])('waits ten seconds for one that does not exist: %s', async (_name, call) => {
    const { sim, kafka } = setUp()
    const lost = watch(sim, call(kafka))
    await sim.advance(12_000)
    expect(lost.error).toMatchObject({
      message: 'the cluster does not have the topic none, or not yet',
      code: 'NOT_FOUND',
      outcome: 'not-sent',
    })
    await sim.run(kafka.close())
  })

  it('finds one that is made while it waits', async () => {
    const { sim, kafka } = setUp()
    const found = watch(sim, kafka.admin().records.offsets('later', 'latest'))
    await sim.advance(5_000)
    sim.createTopic('later')
    await sim.advance(3_000)
    expect(found.value).toEqual([{ partition: 0, offset: 0 }])
    await sim.run(kafka.close())
  })

  it('waits all its time for brokers that are down', async () => {
    const { sim, kafka } = setUp()
    for (const id of BROKERS) sim.kill(id)
    const found = watch(sim, kafka.admin().records.offsets('t', 'latest'))
    await sim.advance(20_000)
    expect(found).toEqual({})
    for (const id of BROKERS) sim.start(id)
    await sim.advance(5_000)
    expect(found.value).toHaveLength(2)
    await sim.run(kafka.close())
  })

  it('waits no longer than its timeout for them', async () => {
    const { sim, kafka } = setUp()
    for (const id of BROKERS) sim.kill(id)
    const lost = watch(sim, kafka.admin({ timeoutMs: 15_000 }).records.offsets('t', 'latest'))
    await sim.advance(14_000)
    expect(lost).toEqual({})
    await sim.advance(2_000)
    expect(lost.error).toMatchObject({ code: 'CLUSTER_UNREACHABLE' })
    await sim.run(kafka.close())
  })
})
