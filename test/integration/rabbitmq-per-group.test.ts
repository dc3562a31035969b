import assert from 'node:assert/strict'
import { describe, test } from 'vitest'
import { ConfigurationError, PublishError, UnsupportedError } from 'busbar'
import type { Bus } from 'busbar'
import type { RabbitMqOptions } from 'busbar/rabbitmq'
import { uniqueName, waitUntil } from 'busbar/testing'
import { rabbitMqSuite, record } from './rabbitmq-harness.ts'

describe("RabbitMQ: topics that share the queues of their group (queues: 'per-group')", () => {
  const suite = rabbitMqSuite('shared')
  const bus = (options: RabbitMqOptions = {}, service = uniqueName('group')): Bus =>
    suite.bus({ queues: 'per-group', ...options }, { service })
  const queuesOf = async (group: string): Promise<string[]> =>
    (await suite.names('list_queues')).filter((name) => name.includes(`:${group}`)).sort()

  test('a hundred topics have four queues, and each message reaches the handler of its topic, in the order of its key', async () => {
    const group = uniqueName('group')
    const on = bus({}, group)
    const topics = Array.from({ length: 100 }, (_, number) => `many.${group}.t${number}`)
    const seen = new Map<string, string[]>()
    for (const topic of topics)
      on.consume(topic, (message) => {
        assert.equal(message.topic, topic)
        const key = `${topic}/${message.key}`
        seen.set(key, [...(seen.get(key) ?? []), String(message.data)])
      })
    await on.start()
    const first = `busbar:~:${group}`
    assert.deepEqual(await queuesOf(group), [first, `${first}:1`, `${first}:2`, `${first}:3`])
    const sent: Promise<unknown>[] = []
    for (let round = 0; round < 5; round++)
      for (const topic of topics) for (const key of ['a', 'b']) sent.push(on.publish(topic, round, { key }))
    await Promise.all(sent)
    await waitUntil(() => [...seen.values()].flat().length >= 1_000)
    assert.equal(seen.size, 200)
    for (const [key, rounds] of seen) assert.deepEqual(rounds, ['0', '1', '2', '3', '4'], key)
  })

  test(
    'topics that come later, as in a new version, are handled by the members that know them',
    { timeout: 60_000 },
    async () => {
      const group = uniqueName('group')
      const [old, added] = [`${group}.old`, `${group}.added`]
      const handled: string[] = []
      const before = bus({}, group)
      const beforeOld: unknown[] = []
      before.consume(old, ({ data }) => void beforeOld.push(data))
      await before.start()
      await publishKeys(before, old, 20)
      await waitUntil(() => beforeOld.length === 20)
      const after = bus({}, group)
      after.consume(old, ({ data }) => void handled.push(`old ${String(data)}`))
      after.consume(added, ({ data }) => void handled.push(`added ${String(data)}`))
      const warnings = record(before, 'warning')
      await after.start()
      await Promise.all([publishKeys(after, added, 20), publishKeys(after, old, 20)])
      await waitUntil(() => handled.filter((each) => each.startsWith('added')).length === 20)
      await waitUntil(() => handled.length + beforeOld.length === 60)
      // The new member has gone back to the former version: what it has not handled waits, and nothing else does.
      await after.close()
      await publishKeys(before, added, 5)
      await publishKeys(before, old, 20)
      await waitUntil(() => handled.length + beforeOld.length === 80)
      assert.deepEqual(warnings, [])
      const again = bus({}, group)
      again.consume(old, ({ data }) => void handled.push(`old ${String(data)}`))
      again.consume(added, ({ data }) => void handled.push(`added ${String(data)}`))
      await again.start()
      await waitUntil(() => handled.filter((each) => each.startsWith('added')).length === 25)
    },
  )

  test(
    'a paused topic leaves the others the rest of what the queues may send ahead, and then is reported',
    { timeout: 60_000 },
    async () => {
      const group = uniqueName('group')
      const [paused, other] = [`${group}.paused`, `${group}.other`]
      const on = bus({ partitions: 1 }, group)
      const counts = { paused: 0, other: 0 }
      const handle = on.consume(paused, () => void counts.paused++, { prefetch: 50 })
      on.consume(other, () => void counts.other++, { prefetch: 50 })
      const warnings = record(on, 'warning')
      await on.start()
      handle.pause()
      await publishKeys(on, paused, 30)
      await publishKeys(on, other, 30)
      await waitUntil(() => counts.other === 30)
      await publishKeys(on, paused, 30)
      await publishKeys(on, other, 30)
      await waitUntil(() => warnings.some(({ code, detail }) => code === 'queue-held-up' && detail.includes(paused)), {
        timeoutMs: 20_000,
      })
      handle.resume()
      await waitUntil(() => counts.paused === 60 && counts.other === 60)
    },
  )

  test('a group has one form: the other one is refused by name, also for a topic alone', async () => {
    const group = uniqueName('group')
    const [first, second] = [`${group}.first`, `${group}.second`]
    const perTopic = suite.bus({ queues: 'per-topic' }, { service: group })
    perTopic.consume(first, () => undefined)
    await perTopic.start()
    const perGroup = bus({}, group)
    perGroup.consume(first, () => undefined)
    await assert.rejects(perGroup.start(), (error) => refuses(error, /has queues of its own/))
    const another = bus({}, group)
    another.consume(second, () => undefined)
    await another.start()
    const late = suite.bus({ queues: 'per-topic' }, { service: group })
    late.consume(second, () => undefined)
    await assert.rejects(late.start(), (error) => refuses(error, /share its queues.*queues: 'per-group'/))
    await perTopic.admin().deleteGroup(first, group)
  })

  test(
    'a retry, a delay, a dead letter and a redrive stay with their topic, and attempts are counted',
    { timeout: 60_000 },
    async () => {
      const group = uniqueName('group')
      const [topic, other] = [`${group}.failing`, `${group}.other`]
      const on = bus({}, group)
      const attempts: string[] = []
      const others: unknown[] = []
      let isWell = false
      on.consume(
        topic,
        ({ data, key }, ctx) => {
          attempts.push(`${String(data)} ${ctx.attempt}`)
          if (!isWell && key !== 'fine') throw new Error('not yet')
        },
        { retry: { attempts: 2, backoff: 'fixed', baseMs: 10 } },
      )
      on.consume(other, ({ data }) => void others.push(data))
      await on.start()
      await on.publish(topic, 'keyed', { key: 'k' })
      await on.publish(topic, 'free')
      await on.publish(topic, 'late', { key: 'fine', delayMs: 100 })
      const letters = on.deadLetters(topic)
      await waitUntil(async () => (await letters.list()).length === 2)
      await waitUntil(() => attempts.includes('late 1'))
      assert.deepEqual(attempts.toSorted(), ['free 1', 'free 2', 'keyed 1', 'keyed 2', 'late 1'])
      isWell = true
      await letters.redrive()
      await waitUntil(() => attempts.length === 7)
      assert.deepEqual(others, [])
    },
  )

  test('a topic is deleted from its group alone, and with the last one the group is', { timeout: 60_000 }, async () => {
    const group = uniqueName('group')
    const [first, second] = [`${group}.first`, `${group}.second`]
    const on = bus({}, group)
    const handles = [on.consume(first, () => undefined), on.consume(second, () => undefined)]
    await on.start()
    const admin = on.admin()
    assert.deepEqual(
      (await admin.groups(first)).map((info) => info.topic),
      [first],
    )
    await assert.rejects(admin.purge(first), UnsupportedError.is)
    for (const handle of handles) await handle.close()
    await publishKeys(on, second, 3)
    await admin.deleteGroup(first, group)
    assert.deepEqual(await admin.groups(first), [])
    await assert.rejects(on.publish(first, 1), PublishError.is)
    assert.equal((await admin.groups(second))[0]?.lag, 3)
    await admin.deleteGroup(second, group)
    assert.deepEqual(await queuesOf(group), [])
  })

  test('options of queues of its own are refused for a topic that has none', async () => {
    const on = bus()
    on.consume('options', () => undefined, { native: { partitions: 2 } })
    await assert.rejects(on.start(), (error) => refuses(error, /partitions: is for queues of its own/))
  })
})

function refuses(error: unknown, text: RegExp): true {
  assert.ok(ConfigurationError.is(error), String(error))
  assert.match(error.message, text)
  return true
}

async function publishKeys(on: Bus, topic: string, count: number): Promise<void> {
  await Promise.all(Array.from({ length: count }, (_, number) => on.publish(topic, number, { key: `k${number}` })))
}
