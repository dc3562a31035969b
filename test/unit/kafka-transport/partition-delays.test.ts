import { describe, expect, it } from 'vitest'
import { manualClock } from 'busbar/testing'
import { NO_HEADERS } from '../../../src/core/message.ts'
import { KafkaError } from '../../../src/kafka/index.ts'
import type { KafkaRecord } from '../../../src/kafka/index.ts'
import type { KafkaContext } from '../../../src/transports/kafka/context.ts'
import { PartitionDelays } from '../../../src/transports/kafka/delays/partition-delays.ts'
import { Partition } from '../../../src/transports/kafka/partitions/partition.ts'
import type { PartitionDelivery } from '../../../src/transports/kafka/partitions/partition.ts'
import type { Decoded } from '../../../src/transports/kafka/wire/mapping.ts'

const RECORD = { floor: 0, topic: 0, to: 0, claim: 0, moved: 0, partitions: 1, open: [], notes: [] }
const DUE_MS = 60_000

interface Read {
  readonly offset: number
  readonly maxRecords: number
}

/** A partition with delayed messages whose bodies were not kept; the log begins at `start`. */
function setUp(count: number, start: number) {
  const clock = manualClock()
  const reads: Read[] = []
  const losses: (readonly [offset: number, count: number])[] = []
  const decode = ({ offset }: KafkaRecord): Decoded => {
    const message = { id: String(offset), topic: 't', key: 'k', body: Buffer.alloc(10), headers: NO_HEADERS }
    const deliverAt = clock.now() + DUE_MS
    return { message: message as never, group: undefined, deliverAt, used: 0, isRemoval: false }
  }
  const records = {
    read: async ({ offset }: { offset: number }, { maxRecords }: { maxRecords: number }) => {
      reads.push({ offset, maxRecords })
      if (offset < start)
        throw new KafkaError('gone', { code: 'OFFSET_OUT_OF_RANGE', action: 'fatal', outcome: 'rejected' })
      const end = Math.min(count, offset + maxRecords)
      const found = Array.from({ length: end - offset }, (_, at) => ({ offset: offset + at }))
      return { records: found, nextOffset: end, endOffset: count }
    },
    offsets: async () => [{ partition: 0, offset: start }],
  }
  const context = {
    host: { clock },
    client: { admin: () => ({ records }) },
    mapping: { decode },
    reports: {
      error: (error: unknown) => {
        throw error
      },
    },
  }
  const partition = new Partition('t', 0)
  partition.load(RECORD, 'clean')
  partition.keep()
  const delays = new PartitionDelays(context as unknown as KafkaContext, 1_000_000, {
    wake: () => {},
    changed: () => {},
    lost: (_partition, offset, lost) => losses.push([offset, lost]),
  })
  const all = Array.from({ length: count }, (_, offset) => ({ offset, keySize: 1, valueSize: 10 }) as KafkaRecord)
  partition.arrived(all, count, 0)
  const host = {
    decode,
    delay: (delivery: PartitionDelivery, dueAt: number) =>
      delays.add(partition, partition.putAside(delivery, dueAt, false)),
  }
  const take = (limit: number) => partition.take(limit, Infinity, clock.now(), host)
  // Each commit makes room for more.
  for (; partition.unread > 0; partition.keep()) expect(take(count)).toEqual([])
  return { clock, partition, delays, take, reads, losses }
}

/** What is read comes in later turns. */
async function turns(): Promise<void> {
  for (let turn = 0; turn < 50; turn++) await Promise.resolve()
}

describe('delayed messages that there was no room to keep', () => {
  it('are given up when retention has removed them, and the rest is read', async () => {
    const { clock, partition, take, losses, delays } = setUp(5, 3)
    await clock.advance(DUE_MS)
    await turns()
    expect(losses).toEqual([[0, 3]])
    expect(take(10).map(({ place }) => place)).toEqual([3, 4])
    expect(partition.delayed.size).toBe(0)
    expect(partition.record(false).floor).toBe(3)
    delays.close()
  })

  it('are read only as they are handed out, when many are due at once', async () => {
    const { clock, partition, take, reads, delays } = setUp(3_000, 0)
    await clock.advance(DUE_MS)
    await turns()
    expect(partition.buffer.length).toBe(500)
    const handled: number[] = []
    for (let round = 0; handled.length < 3_000 && round < 100; round++) {
      for (const delivery of take(200)) {
        handled.push(delivery.place)
        partition.finish(delivery)
      }
      delays.consumed(partition)
      await turns()
      expect(partition.buffer.length).toBeLessThanOrEqual(500)
    }
    expect(handled).toEqual(Array.from({ length: 3_000 }, (_, offset) => offset))
    // Each record once: what did not fit was not read before its time.
    expect(reads.reduce((sum, { maxRecords }) => sum + maxRecords, 0)).toBeLessThan(4_000)
    delays.close()
  })
})
