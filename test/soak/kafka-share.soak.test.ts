import { expect, test } from 'vitest'
import { systemClock } from '../../src/kafka/network/clock.ts'
import { waitFor } from '../../tools/brokers/index.ts'
import { useKafka } from '../integration/kafka-broker.ts'
import { QUICK_GROUPS, setUpShareGroup } from '../integration/kafka-consumer-setup.ts'

/** The shortest that brokers allow. */
const LOCK_MS = 15_000

const kafka = useKafka(QUICK_GROUPS)

test('C27: a lock is renewed while its record is handled', { timeout: 120_000 }, async (context) => {
  const { shareConsumer, send, close } = await setUpShareGroup(context, kafka, 1, {
    'share.record.lock.duration.ms': String(LOCK_MS),
  })
  await send(['slow'])
  const member = shareConsumer()
  const stale: unknown[] = []
  member.onStale((records) => void stale.push(...records))
  const { value: [record] = [] } = await member.next()
  const began = systemClock.now()
  await waitFor(() => systemClock.now() - began > 1.5 * LOCK_MS, { timeoutMs: 60_000 })
  expect(record?.deliveryCount).toBe(1)
  expect(record?.accept()).toBe(true)
  await member.close()
  expect(stale).toEqual([])
  await send(['next'])
  const after = shareConsumer()
  const { value } = await after.next()
  expect(value?.map((each) => each.record.valueText)).toEqual(['next'])
  await after.close()
  await close()
})
