import { expect, it } from 'vitest'
import { GroupStarts } from '../../../src/transports/kafka/consume/group-starts.ts'
import type { KafkaContext } from '../../../src/transports/kafka/context.ts'

it('begins at the start where a group that is known has committed nothing', async () => {
  const altered: { readonly partition: number; readonly offset: number }[] = []
  // A group of another program: 1 had no message when it ran.
  const committed = [0, 2].map((partition) => ({ topic: 't', partition, offset: 5, metadata: '' }))
  const ends = { earliest: 3, latest: 9 }
  const client = {
    admin: () => ({
      offsets: {
        list: async () => committed,
        alter: async (_: string, offsets: typeof altered) => void altered.push(...offsets),
      },
      records: {
        offsets: async (_: string, at: keyof typeof ends) =>
          [0, 1, 2].map((partition) => ({ partition, offset: ends[at] })),
      },
    }),
  }
  const starts = new GroupStarts({ client } as unknown as KafkaContext, 'g')
  await starts.prepare([{ topic: 't', from: 'latest' }])
  const beginning = altered.find(({ partition }) => partition === 1)?.offset ?? starts.beginning('t', 1)
  expect(beginning).toBeLessThanOrEqual(3)
})
