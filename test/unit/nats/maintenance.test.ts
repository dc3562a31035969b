import assert from 'node:assert/strict'
import { test } from 'vitest'
import { manualClock } from 'busbar/testing'
import { LinkedList } from '../../../src/core/util/linked-list.ts'
import type { EncodedMessage } from '../../../src/core/message.ts'
import { Incoming } from '../../../src/transports/nats/connection/incoming.ts'
import { NatsDelivery } from '../../../src/transports/nats/jetstream/shared/delivery.ts'
import type { PullConsumer } from '../../../src/transports/nats/jetstream/shared/pull-consumer.ts'
import { Maintenance } from '../../../src/transports/nats/jetstream/consume/maintenance.ts'
import type { MaintenanceParts } from '../../../src/transports/nats/jetstream/consume/maintenance.ts'

const ACK_WAIT_MS = 3_000

/** A consumer with two deliveries that came at different times. */
function consumerWithTwo(): PullConsumer {
  const consumer = { ackWaitMs: ACK_WAIT_MS, outstanding: new LinkedList<NatsDelivery>() } as unknown as PullConsumer
  for (const [seq, touchedAt] of [
    [1, 0],
    [2, 1_500],
  ] as const)
    consumer.outstanding.push(
      new NatsDelivery(
        consumer,
        {} as EncodedMessage,
        'busbar.any.orders',
        new Incoming(),
        seq,
        1,
        false,
        true,
        touchedAt,
      ),
    )
  return consumer
}

test('what ran out at the server while it was out of reach is lost: other members may have it', async () => {
  const clock = manualClock()
  const lost: NatsDelivery[] = []
  const consumer = consumerWithTwo()
  const maintenance = new Maintenance({
    session: { ready: false, host: { clock } },
    shared: {
      all: [consumer],
      leaseMs: ACK_WAIT_MS,
      lost: (deliveries: readonly NatsDelivery[]) => void lost.push(...deliveries),
    },
  } as unknown as MaintenanceParts)
  maintenance.start()
  for (let round = 0; round < 4; round++) await clock.advance(ACK_WAIT_MS / 3)
  maintenance.stop()
  assert.deepEqual(
    lost.map(({ seq }) => seq),
    [1],
  )
  assert.equal(consumer.outstanding.size, 1)
})
