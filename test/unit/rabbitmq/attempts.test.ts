import { expect, test } from 'vitest'
import { manualClock } from 'busbar/testing'
import { AttemptNotes } from '../../../src/transports/rabbitmq/consume/attempt-notes.ts'
import { Attempts } from '../../../src/transports/rabbitmq/consume/attempts.ts'
import type { RabbitMqDelivery } from '../../../src/transports/rabbitmq/consume/delivery.ts'
import type { SubscriptionContext } from '../../../src/transports/rabbitmq/consume/subscription-context.ts'
import { turn } from '../core/stage.ts'
import { encoded } from '../core/stub-transport.ts'

test('a channel is not closed before the broker has the notes about what goes back with it', async () => {
  const clock = manualClock()
  const stored = Promise.withResolvers<void>()
  const written: string[] = []
  const notes = new AttemptNotes({
    clock,
    locks: undefined as never,
    publisher: {
      publishTo: async (_queue: unknown, body: Buffer) => {
        written.push(body.toString())
        await stored.promise
      },
    } as never,
    queueOf: () => 'notes',
    declare: () => Promise.resolve(),
  })
  const context: Partial<SubscriptionContext> = { clock, failed: () => undefined }
  const attempts = new Attempts('me', notes, context as SubscriptionContext)
  const running = {
    message: encoded('a'),
    base: 0,
    attempt: 1,
    generation: 0,
    isKnown: true,
    state: 'held',
  } as RabbitMqDelivery
  void attempts.note([{ delivery: running, used: 1, running: true, notBefore: undefined }])
  // A forced close releases it, and does not wait for the note; then the channel is to be closed.
  void attempts.returned([running])
  let mayClose = false
  const closing = attempts.returnedAll([running]).then(() => {
    mayClose = true
  })
  await turn()
  expect(mayClose).toBe(false)
  stored.resolve()
  await closing
  expect(written.at(-1)).toBe('[["a",0,0,"me",0]]')
  attempts.close()
})
