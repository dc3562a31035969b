import assert from 'node:assert/strict'
import { describe, test } from 'vitest'
import { uniqueName, waitUntil } from 'busbar/testing'
import { rabbitMqSuite, record } from './rabbitmq-harness.ts'

describe('RabbitMQ: objects of Busbar that somebody deletes', () => {
  const suite = rabbitMqSuite('deletions')

  test(
    'a member that starts right after a queue was deleted does not take it from the one that consumed it',
    { timeout: 60_000 },
    async () => {
      const consuming = suite.bus()
      const joining = suite.bus()
      // Connected already: its declarations follow at once.
      joining.consume(uniqueName('other'), () => {})
      await joining.start()
      await consuming.start()
      const losses = [record(consuming, 'loss'), record(joining, 'loss')]
      for (let round = 0; round < 6; round++) {
        const topic = uniqueName('joined')
        const seen = new Set<unknown>()
        consuming.consume(topic, ({ data }) => void seen.add(data))
        await waitUntil(async () => (await consuming.health()).consumers.every(({ status }) => status === 'ok'))
        const keys = Array.from({ length: 8 }, (_, at) => `k${at}`)
        for (const key of keys) await consuming.publish(topic, key, { key })
        await waitUntil(() => seen.size === keys.length)
        const queues = ['', ':1', ':2', ':3'].map((partition) => `busbar:${topic}:deletions${partition}`)
        const lost = queues[1 + (round % 3)] as string
        await suite.channel.deleteQueue(lost)
        const joined = joining.consume(topic, ({ data }) => void seen.add(data))
        await joined.ready
        await waitUntil(() => losses.flat().some(({ reason }) => reason.includes(`"${lost}"`)), {
          timeoutMs: 10_000,
          describe: () => `no loss of ${lost} in round ${round}`,
        })
        for (const key of keys) await consuming.publish(topic, `${key} again`, { key })
        await waitUntil(() => seen.size === 2 * keys.length, {
          timeoutMs: 10_000,
          describe: () => `round ${round}: ${[...seen].join(', ')}`,
        })
        await joined.close()
      }
    },
  )

  test('a group without its first queue is new, unless the list of groups has it', { timeout: 60_000 }, async () => {
    const topic = uniqueName('first')
    const first = `busbar:${topic}:deletions`
    const other = suite.bus()
    await other.start()
    const groups = async (): Promise<readonly string[]> => (await other.admin().groups(topic)).map(({ group }) => group)
    const started = async (): Promise<readonly string[]> => {
      const on = suite.bus()
      const losses = record(on, 'loss')
      on.consume(topic, () => {})
      await on.start()
      await on.close()
      return losses.map(({ reason }) => reason)
    }
    // All that a member leaves that dies while it declares a new group.
    await suite.channel.assertQueue(`${first}:1`, {
      durable: true,
      arguments: {
        'x-queue-type': 'quorum',
        'x-single-active-consumer': true,
        'x-dead-letter-exchange': 'busbar.system',
        'x-dead-letter-routing-key': 'dead.v2.key4.deletions',
      },
    })
    assert.deepEqual(await started(), [])
    assert.deepEqual(await groups(), ['deletions'])
    await suite.channel.deleteQueue(first)
    const [loss, ...more] = await started()
    assert.match(loss ?? '', new RegExp(`"${first}"`))
    assert.deepEqual(more, [])
  })

  test('messages that the broker gives up are sorted again after the queue for them was deleted', async () => {
    const topic = uniqueName('expires')
    const on = suite.bus()
    const reported = record(on, 'error')
    const consumer = on.consume(topic, () => {}, { native: { arguments: { 'x-message-ttl': 100 } } })
    await on.start()
    await consumer.ready
    consumer.pause()
    await suite.channel.deleteQueue('busbar.dead-letters')
    await waitUntil(() => reported.some(({ error }) => /busbar.dead-letters" was deleted/.test(String(error))), {
      timeoutMs: 5_000,
    })
    await waitUntil(async () => (await suite.names('list_queues')).includes('busbar.dead-letters'))
    await on.publish(topic, 1, { id: 'late' })
    await waitUntil(async () => (await on.deadLetters(topic).list()).length === 1, { timeoutMs: 5_000 })
  })

  test('members hear each other again after the exchange for that was deleted', { timeout: 60_000 }, async () => {
    const topic = uniqueName('deaf')
    const first = suite.bus()
    const shares = record(first, 'rebalance')
    first.consume(topic, (_, ctx) => ctx.reject('no'))
    await first.start()
    await waitUntil(() => shares.length === 1)
    await suite.channel.deleteExchange('busbar.system')
    await first.publish(topic, 1)
    await waitUntil(async () => (await first.deadLetters(topic).list()).length === 1, { timeoutMs: 10_000 })
    const second = suite.bus()
    second.consume(topic, (_, ctx) => ctx.reject('no'))
    await second.start()
    await waitUntil(() => shares.some(({ revoked }) => revoked.length === 2), { timeoutMs: 10_000 })
  })

  test('a delay is kept after a queue for delays was deleted', { timeout: 120_000 }, async () => {
    const topic = uniqueName('rungs')
    const on = suite.bus()
    const at: number[] = []
    on.consume(topic, () => void at.push(performance.now()))
    await on.start()
    const delayMs = 2_000
    await on.publish(topic, 0, { delayMs })
    await waitUntil(() => at.length === 1, { timeoutMs: 10_000 })
    for (const rung of [3, 4, 5, 6]) await suite.channel.deleteQueue(`busbar.delay.${rung}`)
    await waitUntil(
      async () => {
        const names = await suite.names('list_queues')
        return [3, 4, 5, 6].every((rung) => names.includes(`busbar.delay.${rung}`))
      },
      { timeoutMs: 90_000 },
    )
    const publishedAt = performance.now()
    await on.publish(topic, 1, { delayMs })
    await waitUntil(() => at.length === 2, { timeoutMs: 10_000 })
    assert.ok((at[1] as number) - publishedAt >= delayMs - 1)
  })
})
