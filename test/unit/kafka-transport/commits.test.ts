import { expect, it } from 'vitest'
import { manualClock } from 'busbar/testing'
import { KafkaError } from '../../../src/kafka/index.ts'
import { Commits } from '../../../src/transports/kafka/partitions/commits.ts'
import { Partition } from '../../../src/transports/kafka/partitions/partition.ts'

it('halves what a broker takes once, however many records of a request were too large', async () => {
  const tooLarge: number[] = []
  const error = new KafkaError('too large', { code: 'OFFSET_METADATA_TOO_LARGE', action: 'fatal', outcome: 'rejected' })
  let isRefused = true
  const commits = new Commits({
    clock: manualClock(),
    intervalMs: 50,
    owner: 'AAAAAAAA',
    commit: async (offsets) => offsets.map(() => (isRefused ? error : undefined)),
    stored: () => {},
    refused: () => {},
    cut: () => {},
    tooLarge: (_, maxCharacters) => void tooLarge.push(maxCharacters),
  })
  const partitions = Array.from({ length: 6 }, (_, index) => new Partition('t', index))
  const record = { floor: 0, topic: 0, to: 0, claim: 0, moved: 0, partitions: 6, open: [], notes: [] }
  for (const partition of partitions) {
    partition.load(record, 'clean')
    commits.now(partition)
  }
  await new Promise(setImmediate)
  isRefused = false
  expect(Math.min(...tooLarge)).toBe(2_048)
})
