import assert from 'node:assert/strict'
import { describe, test } from 'vitest'
import { manualClock } from 'busbar/testing'
import { Credit } from '../../../src/transports/nats/jetstream/consume/credit.ts'
import type { JetStreamApi } from '../../../src/transports/nats/jetstream/server/jetstream-api.ts'
import type { PullConsumer } from '../../../src/transports/nats/jetstream/shared/pull-consumer.ts'
import { Partition } from '../../../src/transports/nats/jetstream/partitions/partition.ts'
import type { PartitionReader } from '../../../src/transports/nats/jetstream/partitions/partition-reader.ts'
import type { PartitionSet } from '../../../src/transports/nats/jetstream/partitions/partition-set.ts'
import { PullRequests } from '../../../src/transports/nats/jetstream/consume/pull-requests.ts'
import type { Session } from '../../../src/transports/nats/connection/session.ts'

/** A shared consumer and readers of partitions, which request what they are allowed to. */
class Bench {
  readonly shared: PullConsumer
  readonly readers: readonly PartitionReader[]
  readonly credit: Credit

  /** `apart`: each partition has a reader, as before 2.10. */
  constructor(prefetch: number, apart: boolean) {
    const session = {
      ready: true,
      readers: 0,
      isOlderThan: () => false,
      host: { clock: manualClock() },
      writeBuffer: { publish: () => undefined },
    } as unknown as Session
    const api = { nextSubject: () => 'next' } as unknown as JetStreamApi
    const pulls = (): PullRequests => new PullRequests({ session, api }, { stream: 's', name: 'c' })
    this.shared = { buffer: [], bufferBytes: 0, active: true, suspended: 0, pulls: pulls() } as unknown as PullConsumer
    const partitions = Array.from({ length: 8 }, (_, name) => new Partition(String(name), 's', []))
    const groups = apart ? partitions.map((partition) => [partition]) : [partitions]
    this.readers = groups.map((group) => {
      const reader = { partitions: group, active: true, pulls: pulls() } as unknown as PartitionReader
      reader.pulls.least = reader.pulls.target = apart ? 1 : Math.max(1, prefetch >> 1)
      reader.pulls.most = Math.max(1, prefetch >> 1)
      return reader
    })
    const readers = { all: new Set(this.readers), tendApart: () => undefined }
    const set = { partitions, readers, unstored: 0 }
    this.credit = new Credit(
      session,
      [this.shared],
      set as unknown as PartitionSet,
      { prefetch, maxPerKey: prefetch },
      () => undefined,
    )
  }

  async grant(messages: number, bytes: number): Promise<void> {
    this.credit.request(messages, bytes)
    await Promise.resolve()
  }
}

describe('whatever the prefetch and the bytes are, each source may send something', () => {
  for (const apart of [false, true])
    for (const prefetch of [1, 2, 3, 16, 100])
      test(`prefetch ${prefetch}, ${apart ? 'each partition read apart' : 'one reader'}`, async () => {
        for (const bytes of [1_000, 1_048_576]) {
          const bench = new Bench(prefetch, apart)
          await bench.grant(prefetch, bytes)
          for (const { pulls } of [bench.shared, ...bench.readers]) assert.ok(pulls.asked > 0)
          // The message of the shared consumer has come and was handled; the others still wait for theirs.
          bench.shared.pulls.reset()
          await bench.grant(0, 0)
          assert.ok(bench.shared.pulls.asked > 0)
          for (const { pulls } of bench.readers) {
            pulls.reset()
            await bench.grant(0, 0)
            assert.ok(pulls.asked > 0)
          }
        }
      })
})

test('together they request little more than the prefetch', async () => {
  const bench = new Bench(100, false)
  await bench.grant(100, 1_048_576)
  const asked = [bench.shared, ...bench.readers].map(({ pulls }) => pulls.asked)
  assert.ok(asked.reduce((total, count) => total + count, 0) <= 127, asked.join())
  const bytes = [bench.shared, ...bench.readers].map(({ pulls }) => pulls.askedBytes)
  assert.ok(bytes.reduce((total, count) => total + count, 0) <= 1_048_576 + 65_536, bytes.join())
})

test('requests for partitions, however many wait, leave room for messages without a key', async () => {
  const bench = new Bench(256, true)
  for (const { pulls } of bench.readers) pulls.ask(33, 0)
  await bench.grant(256, 16_777_216)
  assert.ok(bench.shared.pulls.asked > 0)
})
