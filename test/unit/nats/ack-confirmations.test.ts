import { expect, it } from 'vitest'
import { manualClock } from 'busbar/testing'
import { AckConfirmations } from '../../../src/transports/nats/jetstream/shared/ack-confirmations.ts'
import type { NatsDelivery } from '../../../src/transports/nats/jetstream/shared/delivery.ts'
import type { Incoming } from '../../../src/transports/nats/connection/incoming.ts'
import type { Session } from '../../../src/transports/nats/connection/session.ts'

/** As much of a session as acks need; what is written is on record. */
function fakeSession() {
  const clock = manualClock()
  const asked: string[] = []
  let receive: (message: Incoming) => void = () => {}
  const session = {
    ready: true,
    options: { confirmAcks: true },
    host: { clock },
    inbox: () => '_INBOX.x',
    subscribe: (_subject: string, onMessage: typeof receive) => {
      receive = onMessage
      return { unsubscribe() {} }
    },
    flush: () => Promise.resolve(),
    connection: { isClosed: () => false },
  } as unknown as Session
  return { session, clock, asked, answer: (subject: string) => receive({ subject, status: 0 } as Incoming) }
}

it('a late answer to an earlier try is no word of a consumer that has not answered', async () => {
  const { session, clock, asked, answer } = fakeSession()
  const confirmations = new AckConfirmations(session)
  confirmations.open()
  const delivery = () =>
    ({
      consumer: { lastIndex: -1 },
      answer: (_buffer: unknown, inbox: string) => void (inbox === '' || asked.push(inbox)),
    }) as unknown as NatsDelivery
  let isDone = false
  const done = confirmations.send([delivery(), delivery()], 'ack').then((error) => {
    isDone = true
    return error
  })
  expect(asked).toHaveLength(2)
  await clock.advance(6_000)
  await confirmations.check(() => Promise.resolve(true))
  expect(asked).toHaveLength(4)
  const [firstTry = '', , secondTry = ''] = asked
  // Both of the first consumer: its answer to the first try comes late, and the one to the second as well.
  answer(firstTry)
  answer(secondTry)
  await Promise.resolve()
  expect(isDone).toBe(false)
  answer(secondTry)
  expect(await done).toBeUndefined()
})
