import { describe, expect, test } from 'vitest'
import { createAdmin } from '../../src/kafka/admin/admin.ts'
import { waitFor } from '../../tools/brokers/index.ts'
import { useKafka } from './kafka-broker.ts'
import { QUICK_GROUPS, numbers, setUpShareGroup } from './kafka-consumer-setup.ts'

const kafka = useKafka(QUICK_GROUPS)

describe('a share group on a real broker', () => {
  test(
    'each record is handled; what is released comes again, what is rejected does not',
    { timeout: 120_000 },
    async (context) => {
      const { cluster, topic, shareConsumer, send, close } = await setUpShareGroup(context, kafka, 3)
      await send(numbers(200))
      const handled = new Map<string, number>()
      const members = [1, 2].map(() => {
        const member = shareConsumer()
        const ended = member.run({
          concurrency: 10,
          handler: async (record) => {
            const value = record.record.valueText ?? ''
            handled.set(value, (handled.get(value) ?? 0) + 1)
            expect(record.deliveryCount).toBe(handled.get(value))
            if (Number(value) % 10 === 3 && record.deliveryCount < 3) throw new Error('again')
            if (Number(value) % 10 === 7) record.reject()
          },
          onError: (error) => {
            if ((error as Error).message !== 'again') throw error
          },
        })
        return { member, ended }
      })
      const expected = (value: string) => (Number(value) % 10 === 3 ? 3 : 1)
      const isDone = () => numbers(200).every((value) => handled.get(value) === expected(value))
      await waitFor(isDone, { timeoutMs: 60_000 })
      const described = await createAdmin(cluster).groups.describe(`${topic}-share`)
      expect(described).toMatchObject({ type: 'share', state: 'Stable', members: [{ clientId: 'test' }, {}] })
      await Promise.all(members.map(({ member }) => member.close()))
      await Promise.all(members.map(({ ended }) => ended))
      // Nothing is left for another.
      await send(['last'])
      const after = shareConsumer()
      const { value } = await after.next()
      expect(value?.map(({ record }) => record.valueText)).toEqual(['last'])
      for (const record of value ?? []) record.accept()
      await after.close()
      await close()
    },
  )

  test(
    'what a member gives back when it closes comes again, with that delivery counted',
    { timeout: 120_000 },
    async (context) => {
      const { shareConsumer, send, close } = await setUpShareGroup(context, kafka)
      await send(numbers(50))
      const first = shareConsumer()
      const { value: acquired = [] } = await first.next()
      expect(acquired.length).toBeGreaterThan(0)
      const [kept, ...rest] = acquired
      expect(kept?.accept()).toBe(true)
      for (const record of rest) expect(record.release()).toBe(true)
      expect(kept?.accept()).toBe(false)
      await first.close()
      const second = shareConsumer()
      const seen: string[] = []
      const counts = new Map<number, number>()
      const ended = second.run({
        handler: ({ record, deliveryCount }) => {
          seen.push(record.valueText ?? '')
          counts.set(record.offset, deliveryCount)
        },
      })
      await waitFor(() => seen.length >= 49, { timeoutMs: 30_000 })
      await second.close()
      await ended
      expect(seen.toSorted()).toEqual(
        numbers(50)
          .filter((value) => value !== kept?.record.valueText)
          .toSorted(),
      )
      expect(rest.map(({ offset }) => counts.get(offset))).toEqual(rest.map(() => 2))
      await close()
    },
  )

  test('acquires no more records than it has room for, if it is told to', { timeout: 120_000 }, async (context) => {
    const acquired = async (acquireMode: 'batch_optimized' | 'record_limit') => {
      const { shareConsumer, send, close } = await setUpShareGroup(context, kafka)
      await send(numbers(60))
      const consumer = shareConsumer({ maxUndecided: 5, acquireMode })
      const { value = [] } = await consumer.next()
      // Closing waits for those who have not decided.
      for (const record of value) record.release()
      await consumer.close()
      await close()
      return value.length
    }
    expect(await acquired('record_limit')).toBe(5)
    // The whole batch of the log.
    expect(await acquired('batch_optimized')).toBe(60)
  })

  test('its offsets are shown, moved and deleted', { timeout: 120_000 }, async (context) => {
    const { cluster, topic, shareConsumer, send, close } = await setUpShareGroup(context, kafka)
    const { shareOffsets, groups } = createAdmin(cluster)
    const group = `${topic}-share`
    const read = async (count: number) => {
      const consumer = shareConsumer()
      const values: string[] = []
      const ended = consumer.run({ handler: ({ record }) => void values.push(record.valueText ?? '') })
      await waitFor(() => values.length >= count, { timeoutMs: 30_000 })
      const refused = await shareOffsets
        .alter(group, [{ topic, partition: 0, startOffset: 0 }])
        .catch((error: unknown) => error)
      await consumer.close()
      await ended
      expect(refused).toMatchObject({ code: 'NON_EMPTY_GROUP' })
      return values
    }
    await send(numbers(10))
    expect(await read(10)).toEqual(numbers(10))
    const empty = async () => (await groups.describe(group)).members.length === 0
    await waitFor(empty, { timeoutMs: 30_000 })
    const place = { topic, partition: 0 }
    await waitFor(async () => (await shareOffsets.list(group))[0]?.lag === 0, { timeoutMs: 30_000 })
    // The broker moves the start when it likes.
    expect(await shareOffsets.list(group)).toMatchObject([{ ...place, lag: 0 }])
    await shareOffsets.alter(group, [{ ...place, startOffset: 7 }])
    expect(await shareOffsets.list(group)).toMatchObject([{ ...place, startOffset: 7, lag: 3 }])
    expect(await read(3)).toEqual(['7', '8', '9'])
    await waitFor(empty, { timeoutMs: 30_000 })
    await shareOffsets.reset(group, [topic], 'earliest')
    expect(await shareOffsets.list(group)).toMatchObject([{ ...place, startOffset: 0, lag: 10 }])
    await shareOffsets.delete(group, [topic])
    expect(await shareOffsets.list(group)).toEqual([])
    expect(await shareOffsets.list('no-such-group')).toEqual([])
    await close()
  })
})
