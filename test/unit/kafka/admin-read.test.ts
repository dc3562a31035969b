import { describe, expect, it } from 'vitest'
import { createClient } from '../../../src/kafka/index.ts'
import type { KafkaClient, ReadRecords } from '../../../src/kafka/index.ts'
import { SimCluster } from './sim/sim-cluster.ts'

const BROKERS = [1, 2, 3]
const NOT_LEADER = 6
const PLACE = { topic: 't', partition: 0 }

async function setUp(count: number): Promise<{ readonly sim: SimCluster; readonly kafka: KafkaClient }> {
  const sim = new SimCluster()
  sim.createTopic('t', 1)
  const kafka = createClient(sim.clientOptions())
  const producer = kafka.producer()
  const records = Array.from({ length: count }, (_, index) => ({ value: `v${index}`, partition: 0 }))
  await sim.run(producer.sendMany('t', records))
  await sim.run(producer.close())
  return { sim, kafka }
}

function valuesOf({ records }: ReadRecords): readonly (string | null)[] {
  return records.map(({ valueText }) => valueText)
}

describe('admin.records.read', () => {
  it('reads from an offset up to a number of records, and says where to read on', async () => {
    const { sim, kafka } = await setUp(10)
    const { records } = kafka.admin()
    const first = await sim.run(records.read({ ...PLACE, offset: 3 }, { maxRecords: 4 }))
    expect(valuesOf(first)).toEqual(['v3', 'v4', 'v5', 'v6'])
    expect(first).toMatchObject({ nextOffset: 7, endOffset: 10 })
    const rest = await sim.run(records.read({ ...PLACE, offset: 7 }))
    expect(valuesOf(rest)).toEqual(['v7', 'v8', 'v9'])
    expect(rest.nextOffset).toBe(10)
    expect(await sim.run(records.read({ ...PLACE, offset: 10 }))).toEqual({
      records: [],
      nextOffset: 10,
      endOffset: 10,
    })
    const few = await sim.run(records.read({ ...PLACE, offset: 3 }, { maxBytes: 3 }))
    expect(valuesOf(few)).toEqual(['v3', 'v4'])
    expect(few.nextOffset).toBe(5)
    await sim.run(kafka.close())
  })

  it('leaves out aborted transactions and their markers, and reads on behind them', async () => {
    const { sim, kafka } = await setUp(1)
    const producer = kafka.producer({ transactionalId: 'x' })
    const aborted = producer.transaction(async (tx) => {
      await tx.send({ topic: 't', partition: 0, value: 'aborted' })
      throw new Error('no')
    })
    await expect(sim.run(aborted)).rejects.toThrow('no')
    await sim.run(producer.transaction(async (tx) => void (await tx.send({ topic: 't', partition: 0, value: 'done' }))))
    // The markers of a transaction are written after its end is answered.
    await sim.advance(1_000)
    const { records } = kafka.admin()
    const committed = await sim.run(records.read({ ...PLACE, offset: 0 }))
    expect(valuesOf(committed)).toEqual(['v0', 'done'])
    expect(committed.nextOffset).toBe(committed.endOffset)
    const all = await sim.run(records.read({ ...PLACE, offset: 0 }, { committed: false }))
    expect(valuesOf(all)).toEqual(['v0', 'aborted', 'done'])
    await sim.run(kafka.close())
  })

  it('asks the new leader when the partition has moved', async () => {
    const { sim, kafka } = await setUp(3)
    const { records } = kafka.admin()
    await sim.run(records.read({ ...PLACE, offset: 0 }))
    const { leader } = sim.partition('t', 0)
    sim.moveLeader('t', 0, BROKERS.find((id) => id !== leader) ?? -1)
    expect(valuesOf(await sim.run(records.read({ ...PLACE, offset: 1 })))).toEqual(['v1', 'v2'])
    await sim.run(kafka.close())
  })

  it('rejects for an offset that the log does not have, and for arguments that mean nothing', async () => {
    const { sim, kafka } = await setUp(3)
    const { records } = kafka.admin()
    const outOfRange = records.read({ ...PLACE, offset: 4 }).catch((error: unknown) => error)
    expect(await sim.run(outOfRange)).toMatchObject({ code: 'OFFSET_OUT_OF_RANGE', outcome: 'rejected' })
    await expect(records.read({ ...PLACE, offset: -1 })).rejects.toThrow('place.offset')
    await expect(records.read({ ...PLACE, offset: 0 }, { maxRecords: 0 })).rejects.toThrow('options.maxRecords')
    await sim.run(kafka.close())
  })
})

describe('admin.records.offsets', () => {
  it('asks each leader once, and only for what is missing again', async () => {
    const { sim, kafka } = await setUp(0)
    sim.createTopic('wide', 30)
    const { records } = kafka.admin()
    await sim.run(records.offsets('wide', 'latest'))
    const asked = () => sim.requests.filter(({ api }) => api === 'ListOffsets').length
    expect(asked()).toBe(BROKERS.length)
    sim.script.on('ListOffsets', 1, { do: 'error', code: NOT_LEADER })
    const offsets = await sim.run(records.offsets('wide', 'latest'))
    expect(offsets.map(({ partition }) => partition)).toEqual(Array.from({ length: 30 }, (_, index) => index))
    expect(asked()).toBe(BROKERS.length + BROKERS.length + 1)
    await sim.run(kafka.close())
  })
})

describe('keepTopicsMs', () => {
  it('spares the calls that follow the question where the partitions are, until the time is over', async () => {
    const { sim, kafka } = await setUp(3)
    const { records } = kafka.admin({ keepTopicsMs: 1_000 })
    await sim.run(records.read({ ...PLACE, offset: 0 }))
    const asked = () => sim.requests.filter(({ api }) => api === 'Metadata').length
    const before = asked()
    await sim.advance(900)
    await sim.run(records.read({ ...PLACE, offset: 0 }))
    await sim.advance(900)
    await sim.run(records.read({ ...PLACE, offset: 0 }))
    expect(asked()).toBe(before)
    await sim.advance(1_100)
    await sim.run(records.read({ ...PLACE, offset: 0 }))
    expect(asked()).toBe(before + 1)
    await sim.run(kafka.close())
  })
})
