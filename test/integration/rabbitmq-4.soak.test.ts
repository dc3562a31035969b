import assert from 'node:assert/strict'
import amqp from 'amqplib'
import { expect, test } from 'vitest'
import { createBus } from 'busbar'
import { rabbitmq } from 'busbar/rabbitmq'
import { uniqueName, waitUntil } from 'busbar/testing'
import { startPrivate } from '../../tools/brokers/index.ts'
import { skipIfMissing } from './broker-helpers.ts'

const SLOW = { timeout: 900_000 }
const ARGUMENT = 'x-consumer-disconnected-timeout'

test(
  'RabbitMQ 4.3: a queue gives up a consumer whose node is away soon, and one made without that is used as it is',
  SLOW,
  async (context) => {
    await using broker = await skipIfMissing(context, startPrivate('rabbitmq', { version: '4' }))
    const plain = await amqp.connect(broker.url)
    const channel = await plain.createChannel()
    const topic = uniqueName('t')
    const [made, found] = [`busbar:${topic}:new`, `busbar:${topic}:old`]
    // As an earlier version of Busbar declared it.
    await channel.assertQueue(found, {
      durable: true,
      arguments: {
        'x-queue-type': 'quorum',
        'x-queue-leader-locator': 'balanced',
        'x-dead-letter-exchange': 'busbar.system',
        'x-dead-letter-routing-key': 'dead.v2.none.old',
        'x-delivery-limit': 1_000,
      },
    })
    await plain.close()
    const bus = createBus({ service: 'four', transport: rabbitmq({ url: broker.url }) })
    const drifts: string[] = []
    bus.events.on('warning', ({ code, detail }) => code === 'topology-drift' && drifts.push(detail))
    const seen: string[] = []
    try {
      for (const group of ['new', 'old']) bus.consume(topic, () => void seen.push(group), { group, order: 'none' })
      await bus.start()
      await bus.publish(topic, 1)
      await waitUntil(() => seen.length === 2, { timeoutMs: 10_000, describe: () => `handled by ${seen.join(', ')}` })
      assert.equal(drifts.length, 1)
      expect(drifts[0]).toContain(`"${found}" exists with another ${ARGUMENT}`)
      const queues = await broker.ctl('--silent', 'list_queues', 'name', 'arguments')
      expect(queues.split('\n').find((row) => row.startsWith(`${made}\t`))).toContain(`{"${ARGUMENT}",5000}`)
    } finally {
      await bus.close()
    }
  },
)
