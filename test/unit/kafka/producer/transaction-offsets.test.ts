import { describe, expect, it } from 'vitest'
import { Cluster } from '../../../../src/kafka/cluster/cluster.ts'
import type { Consumer } from '../../../../src/kafka/consumer/consumer.ts'
import type { ConsumerBatch } from '../../../../src/kafka/consumer/consumer-batch.ts'
import { Producer } from '../../../../src/kafka/producer/producer.ts'
import type { Transaction } from '../../../../src/kafka/producer/transaction.ts'
import { ConsumerSim, numbers } from '../consumer/sim-consumer.ts'

const PROTOCOLS = ['classic', 'consumer'] as const
const SHORT_REVOKE_MS = 5_000

/** A transactional producer, and topic `t` with three records in each of its two partitions. */
function setUp() {
  const sim = new ConsumerSim({ brokers: 1 })
  sim.createTopic('t', 2)
  sim.createTopic('out', 1)
  for (const partition of [0, 1]) sim.append('t', partition, numbers(3))
  const cluster = new Cluster(sim.clientOptions())
  const context = { cluster, clock: sim.clientClock, random: () => sim.random.next() }
  const producer = new Producer({ transactionalId: true, transactionTimeoutMs: 600_000 }, context)
  const close = async () => {
    await sim.run(producer.close())
    cluster.close()
    sim.closeClients()
  }
  return { sim, producer, close }
}

async function nextOf(sim: ConsumerSim, consumer: Consumer): Promise<ConsumerBatch> {
  const { value } = await sim.run(consumer.next())
  if (value === undefined) throw new Error('the consumer has ended')
  return value
}

/** A consumer with a batch of each partition, one of which a second consumer takes and reads too. */
async function lostBatch(sim: ConsumerSim, protocol: (typeof PROTOCOLS)[number]) {
  const options = { autoCommit: false, revokeTimeoutMs: SHORT_REVOKE_MS, protocol }
  const consumer = sim.consumer(options)
  const batches = [await nextOf(sim, consumer), await nextOf(sim, consumer)]
  const other = sim.consumer(options)
  const got = nextOf(sim, other)
  await sim.advance(60_000)
  const taken = await got
  const [lost, held] = batches.toSorted((a, b) => Number(b.isLost) - Number(a.isLost))
  if (lost === undefined || held === undefined) throw new Error('there are two batches')
  expect([lost.isLost, held.isLost, taken.partition]).toEqual([true, false, lost.partition])
  return { consumer, other, lost, held }
}

const nextOffsetOf = ({ topic, partition, nextOffset }: ConsumerBatch) => ({ topic, partition, offset: nextOffset })

describe.each(PROTOCOLS)('offsets of a transaction, in a %s group', (protocol) => {
  it.each([
    ['a batch', (tx: Transaction, _: Consumer, batch: ConsumerBatch) => tx.offsets(batch)],
    [
      'its offset',
      (tx: Transaction, consumer: Consumer, batch: ConsumerBatch) => tx.offsets(consumer, [nextOffsetOf(batch)]),
    ],
  ])('are refused for %s whose partition another member has by now', async (_, add) => {
    const { sim, producer, close } = setUp()
    const { consumer, lost } = await lostBatch(sim, protocol)
    const late = producer.transaction(async (tx) => {
      await tx.send({ topic: 'out', value: 'done twice' })
      add(tx, consumer, lost)
    })
    await expect(sim.run(late)).rejects.toMatchObject({ code: 'NOT_ASSIGNED', action: 'abort', outcome: 'not-sent' })
    await sim.advance(1_000)
    expect(sim.committed(lost.partition)).toBeUndefined()
    await close()
  })

  it('are refused for a batch that is older than the return of its partition', async () => {
    const { sim, producer, close } = setUp()
    const { consumer, other, lost } = await lostBatch(sim, protocol)
    await sim.run(other.close())
    const again = await nextOf(sim, consumer)
    expect(again.partition).toBe(lost.partition)
    await expect(sim.run(producer.transaction((tx) => tx.offsets(lost)))).rejects.toMatchObject({
      code: 'NOT_ASSIGNED',
      action: 'abort',
    })
    await sim.run(producer.transaction((tx) => tx.offsets(again)))
    await sim.advance(1_000)
    expect(sim.committed(lost.partition)).toBe(3)
    await close()
  })

  it('are committed for a batch that was kept through a rebalance', async () => {
    const { sim, producer, close } = setUp()
    const { held } = await lostBatch(sim, protocol)
    await sim.run(producer.transaction((tx) => tx.offsets(held)))
    await sim.advance(1_000)
    expect(sim.committed(held.partition)).toBe(3)
    await close()
  })
})

describe('offsets of a transaction', () => {
  const memberOf = (groupId: string, generationId = -1) => ({ groupId, generationId, memberId: '' })
  const five = [{ topic: 't', partition: 0, offset: 5 }]

  it('that are refused keep the rest from being committed, though the caller goes on', async () => {
    const { sim, producer, close } = setUp()
    const { lost } = await lostBatch(sim, 'classic')
    const careless = producer.transaction(async (tx) => {
      await tx.send({ topic: 'out', value: 'done twice' })
      try {
        tx.offsets(lost)
      } catch {}
    })
    await expect(sim.run(careless)).rejects.toMatchObject({ code: 'NOT_ASSIGNED', action: 'abort' })
    await close()
  })

  it('are refused when those before them were of another generation', async () => {
    const { sim, producer, close } = setUp()
    const mixed = producer.transaction((tx) => {
      tx.offsets(memberOf('g', 3), five)
      tx.offsets(memberOf('g'), [{ topic: 't', partition: 1, offset: 5 }])
    })
    await expect(sim.run(mixed)).rejects.toMatchObject({ code: 'NOT_A_MEMBER', action: 'abort', outcome: 'not-sent' })
    expect(sim.committed(0)).toBeUndefined()
    await close()
  })

  it('are refused where the consumer has delivered nothing, or reads without a group', async () => {
    const { sim, producer, close } = setUp()
    const consumer = sim.consumer({ autoCommit: false })
    await nextOf(sim, consumer)
    await nextOf(sim, consumer)
    const beyond = producer.transaction((tx) => tx.offsets(consumer, [{ topic: 't', partition: 0, offset: 4 }]))
    await expect(sim.run(beyond)).rejects.toMatchObject({ code: 'NOT_ASSIGNED' })
    const alone = sim.consumer({ group: undefined as never })
    const batch = await nextOf(sim, alone)
    await expect(sim.run(producer.transaction((tx) => tx.offsets(batch)))).rejects.toMatchObject({
      code: 'NOT_A_MEMBER',
    })
    const without = producer.transaction((tx) => tx.offsets(consumer as never))
    await expect(sim.run(without)).rejects.toMatchObject({ code: 'UNENCODABLE' })
    await close()
  })

  it('are refused for a batch that was delivered before a seek', async () => {
    const { sim, producer, close } = setUp()
    const consumer = sim.consumer({ autoCommit: false })
    const batch = await nextOf(sim, consumer)
    consumer.seek({ topic: 't', partition: batch.partition, offset: 0 })
    expect(batch.isLost).toBe(true)
    await expect(sim.run(producer.transaction((tx) => tx.offsets(batch)))).rejects.toMatchObject({
      code: 'NOT_ASSIGNED',
    })
    await close()
  })

  it('of a group are committed, though another group has none', async () => {
    const { sim, producer, close } = setUp()
    await sim.run(
      producer.transaction((tx) => {
        tx.offsets(memberOf('empty'), [])
        tx.offsets(memberOf('g'), five)
      }),
    )
    await sim.advance(1_000)
    expect(sim.committed(0)).toBe(5)
    await close()
  })
})
