import { describe, expect, it } from 'vitest'
import type { CommittedPosition, StartPosition } from '../../../../src/kafka/consumer/fetch/position.ts'
import { InvalidOptionsError } from '../../../../src/kafka/errors.ts'
import { ConsumerSim, numbers, read } from './sim-consumer.ts'

const PARTITION = { topic: 't', partition: 0 }

describe.each(['classic', 'consumer'] as const)('a consumer of a %s group that keeps its own offsets', (protocol) => {
  it('commits what it is told, with metadata, and the next one begins where that says', async () => {
    const sim = new ConsumerSim()
    sim.createTopic('t', 1)
    sim.append('t', 0, numbers(10))
    const first = sim.consumer({ protocol, autoCommit: false })
    await sim.run(read(first, 10))
    const commit = { ...PARTITION, offset: 4, metadata: '6 and 7 are done' }
    expect(await sim.run(first.commitOffsets([commit]))).toEqual([undefined])
    await sim.run(first.close())
    expect(sim.committed(0)).toBe(4)

    const seen: (CommittedPosition | undefined)[] = []
    const startAt = (place: object, committed: CommittedPosition | undefined): StartPosition => {
      expect(place).toEqual({ ...PARTITION, topicId: expect.stringMatching(/^.{22}$/) })
      seen.push(committed)
      return { offset: 8 }
    }
    const second = sim.consumer({ protocol, autoCommit: false, startAt })
    expect(await sim.run(read(second, 2))).toEqual(['0:8', '0:9'])
    await sim.run(second.close())
    expect(seen).toMatchObject([{ offset: 4, metadata: '6 and 7 are done' }])
  })

  it('begins by its own policy where nothing is committed, and says that it commits nothing of what it does not have', async () => {
    const sim = new ConsumerSim()
    sim.createTopic('t', 2)
    sim.append('t', 0, numbers(3))
    sim.append('t', 1, numbers(3))
    const startAt = ({ partition }: { readonly partition: number }): StartPosition | undefined =>
      partition === 0 ? 'latest' : undefined
    const consumer = sim.consumer({ protocol, autoCommit: false, startAt })
    expect(await sim.run(read(consumer, 3))).toEqual(['1:0', '1:1', '1:2'])
    const [done, refused] = await sim.run(
      consumer.commitOffsets([
        { topic: 't', partition: 1, offset: 3 },
        { topic: 'u', partition: 0, offset: 3 },
      ]),
    )
    expect([done, refused?.code]).toEqual([undefined, 'NOT_ASSIGNED'])
    await sim.run(consumer.close())
    expect([sim.committed(0), sim.committed(1)]).toEqual([undefined, 3])
  })

  it('rests a partition whose beginning can not be said, and reads it when it is resumed', async () => {
    const sim = new ConsumerSim()
    sim.createTopic('t', 1)
    sim.append('t', 0, numbers(3))
    let fails = true
    const consumer = sim.consumer({
      protocol,
      startAt: () => {
        if (fails) throw new Error('not now')
        return undefined
      },
    })
    await expect(sim.run(consumer.next())).rejects.toThrow('not now')
    fails = false
    consumer.resume()
    expect(await sim.run(read(consumer, 3))).toEqual(['0:0', '0:1', '0:2'])
    await sim.run(consumer.close())
  })

  it('reads other topics when it is told to, and gives back those that it no longer reads', async () => {
    const sim = new ConsumerSim()
    for (const topic of ['t', 'u', 'v1']) {
      sim.createTopic(topic, 1)
      sim.append(topic, 0, numbers(2))
    }
    const consumer = sim.consumer({ protocol })
    await sim.run(read(consumer, 2))
    const revoked: string[] = []
    consumer.on('revoking', (partitions) => void revoked.push(...partitions.map(({ topic }) => topic)))
    consumer.subscribe(['u', /v\d/])
    await sim.run(read(consumer, 4))
    await sim.advance(5_000)
    expect(consumer.assignment.map(({ topic }) => topic).toSorted()).toEqual(['u', 'v1'])
    expect(revoked).toEqual(['t'])
    expect(sim.committed(0)).toBe(2)
    await sim.run(consumer.close())
  })
})

describe('a consumer without a group', () => {
  it('reads the partitions that it is assigned, from their offsets, and no others', async () => {
    const sim = new ConsumerSim()
    sim.createTopic('t', 3)
    for (const partition of [0, 1, 2]) sim.append('t', partition, numbers(5))
    const consumer = sim.consumer({ topics: [], group: undefined })
    consumer.assign([
      { topic: 't', partition: 0, offset: 3 },
      { topic: 't', partition: 2, offset: 4 },
    ])
    expect((await sim.run(read(consumer, 3))).toSorted()).toEqual(['0:3', '0:4', '2:4'])
    consumer.assign([
      { topic: 't', partition: 0, offset: 0 },
      { topic: 't', partition: 1, offset: 2 },
    ])
    sim.append('t', 0, ['new'])
    sim.append('t', 2, ['not read'])
    expect((await sim.run(read(consumer, 4))).toSorted()).toEqual(['0:new', '1:2', '1:3', '1:4'])
    expect(await sim.run(consumer.commitOffsets([{ topic: 't', partition: 0, offset: 1 }]))).toEqual([undefined])
    await sim.run(consumer.close())
  })

  it('drops at once what it is no longer subscribed to', async () => {
    const sim = new ConsumerSim()
    for (const topic of ['t', 'u']) {
      sim.createTopic(topic, 1)
      sim.append(topic, 0, numbers(2))
    }
    const consumer = sim.consumer({ group: undefined })
    await sim.run(read(consumer, 2))
    consumer.subscribe(['u'])
    expect(await sim.run(read(consumer, 2))).toEqual(['0:0', '0:1'])
    expect(consumer.assignment).toEqual([{ topic: 'u', partition: 0 }])
    await sim.run(consumer.close())
  })
})

it('refuses what can not be meant', () => {
  const sim = new ConsumerSim()
  expect(() => sim.consumer({ topics: [] })).toThrow('topics is an empty array')
  expect(() => sim.consumer({ startAt: 'earliest' as never })).toThrow('startAt is a string')
  expect(() => sim.consumer().assign([])).toThrow(InvalidOptionsError)
  expect(() => sim.consumer().subscribe([])).toThrow('topics is an empty array')
  expect(() => sim.consumer({ group: undefined }).assign([{ topic: 't', partition: 0, offset: -1 }])).toThrow(
    'offset is -1',
  )
})
