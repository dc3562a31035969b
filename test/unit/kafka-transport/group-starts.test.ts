import { describe, expect, it } from 'vitest'
import { KafkaError } from '../../../src/kafka/index.ts'
import { GroupStarts } from '../../../src/transports/kafka/consume/group-starts.ts'
import type { KafkaContext } from '../../../src/transports/kafka/context.ts'
import { decodeRecord, encodeRecord, hashOfTopic } from '../../../src/transports/kafka/partitions/commit-record.ts'

interface Committed {
  readonly topic: string
  readonly partition: number
  readonly offset: number
  readonly metadata: string
}

const NOW = 1_700_000_000_000
const ENDS = { earliest: 3, latest: 9 }

/** Of group `g`, which has committed that; topic `t` has three partitions. What is committed goes into `altered`. */
function startsOf(
  committed: readonly Committed[],
  lostAnswers = 0,
): {
  readonly starts: GroupStarts
  readonly altered: Committed[]
  readonly asked: string[]
} {
  const altered: Committed[] = []
  const asked: string[] = []
  const client = {
    admin: () => ({
      offsets: {
        list: async () => committed,
        alter: async (_: string, offsets: readonly Committed[]) => {
          altered.push(...offsets)
          if (lostAnswers-- > 0)
            throw new KafkaError('lost', { code: 'CONNECTION_CLOSED', action: 'fatal', outcome: 'unknown' })
        },
      },
      records: {
        offsets: async (topic: string, at: keyof typeof ENDS) => {
          asked.push(`offsets of ${topic}`)
          return [0, 1, 2].map((partition) => ({ partition, offset: ENDS[at] }))
        },
      },
      topics: {
        describe: async (names: readonly string[]) => {
          asked.push(`topics ${names.join()}`)
          return names.map((name) => ({ name, id: `id of ${name}`, partitions: [0, 1, 2] }))
        },
      },
    }),
  }
  const host = { clock: { now: () => NOW } }
  return { starts: new GroupStarts({ client, host } as unknown as KafkaContext, 'g'), altered, asked }
}

describe('a group', () => {
  it('begins at the start where it is known and has committed nothing', async () => {
    // Of another program: 1 had no message when it ran.
    const { starts, altered } = startsOf(
      [0, 2].map((partition) => ({ topic: 't', partition, offset: 5, metadata: '' })),
    )
    await starts.prepare([{ topic: 't', from: 'latest' }])
    expect(altered).toEqual([])
    expect(starts.beginning('t', 1)).toBe(3)
  })

  it('begins at the start where its own records say that it began with more partitions than it has committed', async () => {
    const record = { floor: 5, topic: 0, owner: '', free: true, to: 5, claim: 5, moved: 0, partitions: 3 }
    const metadata = encodeRecord({ ...record, open: [], notes: [] })
    const { starts } = startsOf([{ topic: 't', partition: 0, offset: 5, metadata }])
    await starts.prepare([{ topic: 't', from: 'latest' }])
    expect([starts.beginning('t', 1), starts.partitionsOf('t')]).toEqual([3, 3])
  })

  it('asks for the offsets of those topics alone in which it has not committed everything', async () => {
    const all = ['a', 'b', 'c'].flatMap((topic) =>
      [0, 1, 2].map((partition) => ({ topic, partition, offset: 5, metadata: '' })),
    )
    const { starts, asked } = startsOf(all.filter(({ topic, partition }) => topic !== 'b' || partition !== 1))
    await starts.prepare(['a', 'b', 'c'].map((topic) => ({ topic, from: 'latest' })))
    expect(asked).toEqual(['topics a,b,c', 'offsets of b'])
    expect(['a', 'b', 'c'].map((topic) => starts.partitionsOf(topic))).toEqual([3, 3, 3])
  })

  it('that is new is told again where to begin when the answer was lost', async () => {
    const { starts, altered } = startsOf([], 1)
    await starts.prepare([{ topic: 't', from: 'latest' }])
    expect(altered.map(({ partition, offset }) => [partition, offset])).toEqual([
      [0, 9],
      [1, 9],
      [2, 9],
      [0, 9],
      [1, 9],
      [2, 9],
    ])
  })

  it('that is new begins where it was told, for that topic alone, with no move that was asked for before', async () => {
    const { starts, altered } = startsOf([])
    await starts.prepare([{ topic: 't', from: 'latest' }])
    expect(altered.map(({ partition, offset }) => [partition, offset])).toEqual([
      [0, 9],
      [1, 9],
      [2, 9],
    ])
    const records = altered.map(({ metadata, offset }) => decodeRecord(metadata, offset))
    for (const record of records)
      expect(record).toMatchObject({ moved: NOW, topic: hashOfTopic('id of t'), partitions: 3, to: 9 })
  })

  it('begins with the others where the beginning of one topic can not be told', async () => {
    const { starts, altered } = startsOf([])
    const bad = { topic: 'bad', from: { position: {} } }
    const { failed } = await starts.prepare([bad, { topic: 't', from: 'latest' }])
    expect([...failed.keys()]).toEqual([bad])
    expect(new Set(altered.map(({ topic }) => topic))).toEqual(new Set(['t']))
  })
})
