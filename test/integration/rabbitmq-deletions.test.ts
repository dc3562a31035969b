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
})
