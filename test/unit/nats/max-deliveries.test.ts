import { expect, it } from 'vitest'
import { manualClock } from 'busbar/testing'
import type { Incoming } from '../../../src/transports/nats/connection/incoming.ts'
import { MaxDeliveries } from '../../../src/transports/nats/jetstream/shared/max-deliveries.ts'
import type { SubscriptionParts } from '../../../src/transports/nats/jetstream/subscription-parts.ts'

it('an advisory that is heard before it is stored is asked for again soon', async () => {
  const clock = manualClock()
  const receivers: ((message: Incoming) => void)[] = []
  let asked = 0
  const session = {
    ready: true,
    host: { clock },
    inbox: () => '_INBOX.x',
    subscribe: (_subject: string, receive: (message: Incoming) => void) => receivers.push(receive),
    writeBuffer: { publish: () => void asked++ },
    add: () => undefined,
  }
  const topology = { name: 'busbar', ensureStream: () => Promise.resolve() }
  const api = { consumerInfo: () => Promise.resolve({}), nextSubject: () => 'next' }
  const maxDeliveries = new MaxDeliveries({ session, topology, api } as unknown as SubscriptionParts)
  await maxDeliveries.open()
  const [answer, advisory] = receivers
  advisory?.({} as Incoming)
  expect(asked).toBe(1)
  // There is none.
  answer?.({ status: 404 } as Incoming)
  await clock.advance(500)
  expect(asked).toBe(2)
  answer?.({ status: 404 } as Incoming)
  await clock.advance(5_000)
  expect(asked).toBe(2)
})
