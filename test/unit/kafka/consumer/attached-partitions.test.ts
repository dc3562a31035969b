import { describe, expect, it } from 'vitest'
import type { CommittedPosition, StartPosition } from '../../../../src/kafka/consumer/fetch/position.ts'
import { ConsumerSim, numbers, read } from './sim-consumer.ts'

const OF_T = { topic: 't', partition: 0 }
const BESIDE = { topic: 'r', partition: 0 }

describe.each(['classic', 'consumer'] as const)('a partition attached to one of a %s group', (protocol) => {
  it('is read and committed from where the group was, and goes and is revoked with the other', async () => {
    const sim = new ConsumerSim()
    sim.createTopic('t', 1)
    sim.createTopic('r', 1)
    sim.append('t', 0, numbers(2))
    sim.append('r', 0, numbers(4, 100))
    const first = sim.consumer({ protocol, autoCommit: false })
    expect(await sim.run(read(first, 2))).toEqual(['0:0', '0:1'])
    first.attach(OF_T, [BESIDE])
    first.attach(OF_T, [BESIDE])
    expect(await sim.run(read(first, 4))).toEqual(['0:100', '0:101', '0:102', '0:103'])
    const revoking: unknown[] = []
    first.on('revoking', async (partitions) => {
      revoking.push(...partitions)
      await first.commitOffsets([{ ...BESIDE, offset: 3, metadata: 'rest' }])
    })
    await sim.run(first.close())
    expect(revoking).toEqual([OF_T, BESIDE])
    expect(sim.committed(0, 'r')).toBe(3)

    const seen: (CommittedPosition | undefined)[] = []
    const startAt = ({ topic }: { readonly topic: string }, committed?: CommittedPosition): StartPosition => {
      if (topic === 't') return { offset: 2 }
      seen.push(committed)
      return { offset: committed?.offset ?? 0 }
    }
    const second = sim.consumer({ protocol, autoCommit: false, startAt })
    const rest = read(second, 1)
    await sim.advance(5_000)
    second.attach(OF_T, [BESIDE])
    expect(await sim.run(rest)).toEqual(['0:103'])
    expect(seen).toMatchObject([{ offset: 3, metadata: 'rest' }])
    await sim.run(second.close())
  })

  it('is lost with the other when the session ends, and nothing more of it is committed', async () => {
    const sim = new ConsumerSim()
    sim.createTopic('t', 1)
    sim.createTopic('r', 1)
    sim.append('t', 0, numbers(1))
    sim.append('r', 0, numbers(1, 100))
    const consumer = sim.consumer({ protocol, autoCommit: false, sessionTimeoutMs: 10_000 })
    await sim.run(read(consumer, 1))
    consumer.attach(OF_T, [BESIDE])
    expect(await sim.run(read(consumer, 1))).toEqual(['0:100'])
    const lost: unknown[] = []
    let code: string | undefined
    consumer.on('lost', (partitions) => {
      lost.push(...partitions)
      void consumer.commitOffsets([{ ...BESIDE, offset: 1 }]).then(([error]) => (code = error?.code))
    })
    const next = consumer.next()
    sim.broker(1).freeze()
    await sim.advance(30_000)
    expect(lost).toEqual([OF_T, BESIDE])
    expect(code).toBe('NOT_ASSIGNED')
    sim.broker(1).thaw()
    await sim.advance(30_000)
    expect(consumer.assignment).toEqual([OF_T])
    expect(sim.committed(0, 'r')).toBeUndefined()
    await sim.run(consumer.close())
    await sim.run(next)
  })

  it('can be attached again when its topic is made again, while the other stays', async () => {
    const sim = new ConsumerSim()
    sim.createTopic('t', 1)
    sim.createTopic('r', 1)
    sim.append('t', 0, numbers(1))
    sim.append('r', 0, numbers(3, 100))
    const consumer = sim.consumer({ protocol, autoCommit: false })
    await sim.run(read(consumer, 1))
    consumer.attach(OF_T, [BESIDE])
    await sim.run(read(consumer, 3))
    const lost: unknown[] = []
    consumer.on('lost', (partitions, reason) => void lost.push(...partitions, reason))
    const rest = read(consumer, 1)
    sim.recreateTopic('r')
    sim.append('r', 0, numbers(1, 200))
    await sim.advance(400_000)
    expect(lost).toEqual([BESIDE, 'recreated'])
    expect(consumer.assignment).toEqual([OF_T])
    consumer.attach(OF_T, [BESIDE])
    expect(await sim.run(rest)).toEqual(['0:200'])
    await sim.run(consumer.close())
  })

  it('is refused beside a partition that is not assigned', async () => {
    const sim = new ConsumerSim()
    sim.createTopic('t', 1)
    const consumer = sim.consumer({ protocol, autoCommit: false })
    expect(() => consumer.attach(OF_T, [BESIDE])).toThrow('t[0] is not assigned to this consumer')
    await sim.run(consumer.close())
  })
})
