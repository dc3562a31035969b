import { expect, it } from 'vitest'
import { createBus } from 'busbar'
import { memory } from 'busbar/memory'
import { waitUntil } from 'busbar/testing'

it('an ack makes the room that the messages stored with it need in its own topic', async () => {
  const bus = createBus({
    service: 'test',
    transport: memory({ maxBacklogBytes: 4_096 }),
    logger: false,
    publish: { deliveryTimeoutMs: 500 },
  })
  const errors: unknown[] = []
  bus.events.on('error', ({ error }) => void errors.push(error))
  let handled = 0
  bus.consume(
    'rounds',
    async ({ data }, ctx) => {
      handled++
      if ((data as number) > 0) await ctx.publish('rounds', (data as number) - 1)
    },
    { publishOnAck: true, concurrency: 50 },
  )
  await bus.start()
  // More than fit: every place in the topic is taken by a message that publishes its successor.
  const results = await bus.publishMany(
    'rounds',
    Array.from({ length: 20 }, () => ({ data: 5 })),
    { allowFailures: true },
  )
  const taken = results.filter(({ error }) => error === undefined).length
  await waitUntil(() => handled >= taken * 6, { timeoutMs: 3_000, describe: () => `${handled} handled` })
  expect(errors).toEqual([])
  await bus.close()
})
