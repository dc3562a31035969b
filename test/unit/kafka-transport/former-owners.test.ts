import { describe, expect, it } from 'vitest'
import { errorFromBroker } from '../../../src/kafka/errors.ts'
import type { TopicPartition } from '../../../src/kafka/index.ts'
import { FormerOwners, transactionalIdOf } from '../../../src/transports/kafka/consume/former-owners.ts'
import type { KafkaContext } from '../../../src/transports/kafka/context.ts'
import { emptyRecord, encodeRecord } from '../../../src/transports/kafka/partitions/commit-record.ts'
import { manualClock } from '../../../src/testing/manual-clock.ts'

const [NOT_FOUND, REFUSED] = [105, 53]
const [DEAD, LEFT, ME] = ['DEADdead', 'LEFTleft', 'MEmemeME']
const PLACE = { topic: 't', partition: 0 }

function setUp(states: Readonly<Record<string, string | number>> = {}) {
  const clock = manualClock()
  const described: string[] = []
  const fenced: string[] = []
  const reports: string[] = []
  const committed: { topic: string; partition: number; offset: number; metadata: string }[] = []
  const asked: unknown[] = []
  const waiting = new Set<string>()
  const transactions = {
    describe: async (id: string) => {
      described.push(id)
      const state = states[id] ?? NOT_FOUND
      if (typeof state === 'number') throw errorFromBroker(state, 'describe')
      return { state }
    },
    fence: async (id: string) => void fenced.push(id),
  }
  const offsets = {
    list: async (_group: string, options: unknown) => {
      asked.push(options)
      return committed
    },
  }
  const context = {
    client: { admin: () => ({ transactions, offsets }) },
    host: { clock },
    reports: {
      warnOnce: (code: string) => void reports.push(code),
      error: (error: unknown) => void reports.push(String(error)),
    },
  } as unknown as KafkaContext
  const owners = new FormerOwners({
    context,
    groupId: 'g',
    owner: ME,
    isWaiting: ({ partition }: TopicPartition) => waiting.has(String(partition)),
  })
  const commit = (owner: string, free: boolean): void => {
    const metadata = encodeRecord({ ...emptyRecord(5), owner, free })
    committed.push({ ...PLACE, offset: 5, metadata })
  }
  return { clock, owners, described, fenced, reports, asked, waiting, commit }
}

const id = (owner: string): string => transactionalIdOf('g', owner)

describe('the transaction of an owner that died', () => {
  it('is aborted at once when its partition is taken over, once for all of its partitions', async () => {
    const { owners, described, fenced } = setUp({ [id(DEAD)]: 'Ongoing' })
    await Promise.all([owners.end(DEAD), owners.end(DEAD), owners.end(ME), owners.end('')])
    expect([described, fenced]).toEqual([[id(DEAD)], [id(DEAD)]])
  })

  it('is aborted again when the owner was alive after all, and dies later', async () => {
    const { clock, owners, fenced } = setUp({ [id(DEAD)]: 'Ongoing' })
    await owners.end(DEAD)
    await clock.advance(10_000)
    await owners.end(DEAD)
    expect(fenced).toEqual([id(DEAD), id(DEAD)])
  })

  it.each(['Empty', 'CompleteCommit', 'PrepareAbort'])('is left alone in state %s', async (state) => {
    const { owners, fenced } = setUp({ [id(DEAD)]: state })
    await owners.end(DEAD)
    expect(fenced).toEqual([])
  })

  it('that never had one is not made known to the brokers', async () => {
    const { owners, fenced, reports } = setUp()
    await owners.end(DEAD)
    expect([fenced, reports]).toEqual([[], []])
  })

  it('is looked for when its offset can not be read, under the owner of the offset before', async () => {
    const { clock, owners, fenced, asked, waiting, commit } = setUp({ [id(DEAD)]: 'Ongoing', [id(LEFT)]: 'Ongoing' })
    commit(DEAD, false)
    commit(LEFT, true)
    waiting.add('0')
    owners.given([PLACE])
    await clock.advance(400)
    expect(asked).toEqual([])
    await clock.advance(200)
    // Who has handed its partition over is alive.
    expect(fenced).toEqual([id(DEAD)])
    expect(asked).toEqual([{ partitions: [PLACE], requireStable: false }])
    waiting.clear()
    await clock.advance(5_000)
    expect(asked).toHaveLength(1)
  })

  it('is not looked for when all partitions have begun in time', async () => {
    const { clock, owners, asked } = setUp()
    owners.given([PLACE])
    await clock.advance(10_000)
    expect(asked).toEqual([])
  })

  it('stays where this client has no right to end it: a warning says which', async () => {
    const { owners, reports } = setUp({ [id(DEAD)]: REFUSED })
    await owners.end(DEAD)
    await owners.end(DEAD)
    expect(reports).toEqual(['transactions-not-ended', 'transactions-not-ended'])
  })
})
