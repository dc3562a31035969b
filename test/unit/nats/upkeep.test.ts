import assert from 'node:assert/strict'
import { test } from 'vitest'
import { manualClock } from 'busbar/testing'
import { LinkedList } from '../../../src/core/util/linked-list.ts'
import type { EncodedMessage } from '../../../src/core/message.ts'
import { NatsDelivery } from '../../../src/transports/nats/delivery.ts'
import type { Lane } from '../../../src/transports/nats/lane.ts'
import { Upkeep } from '../../../src/transports/nats/upkeep.ts'
import type { UpkeepParts } from '../../../src/transports/nats/upkeep.ts'

const ACK_WAIT_MS = 3_000

/** A lane with two deliveries that came at different times. */
function laneWith(shared: boolean): Lane {
  const lane = { shared, ackWaitMs: ACK_WAIT_MS, outstanding: new LinkedList<NatsDelivery>() } as unknown as Lane
  for (const [seq, touchedAt] of [
    [1, 0],
    [2, 1_500],
  ] as const)
    lane.outstanding.push(
      new NatsDelivery(lane, {} as EncodedMessage, 'busbar.any.orders', 'r', seq, 1, 1, false, true, touchedAt),
    )
  return lane
}

test('what ran out at the server while it was out of reach stays here, unless other members may have it', async () => {
  const clock = manualClock()
  const lost: NatsDelivery[] = []
  const [partition, shared] = [laneWith(false), laneWith(true)]
  const upkeep = new Upkeep({
    session: { ready: false, host: { clock } },
    lanes: [partition, shared],
    leaseMs: () => ACK_WAIT_MS,
    lost: (deliveries: readonly NatsDelivery[]) => void lost.push(...deliveries),
  } as unknown as UpkeepParts)
  upkeep.start()
  for (let round = 0; round < 4; round++) await clock.advance(ACK_WAIT_MS / 3)
  upkeep.stop()
  assert.deepEqual(
    lost.map(({ lane, seq }) => [lane === shared, seq]),
    [[true, 1]],
  )
  // The second one of a key must not overtake the first.
  assert.equal(partition.outstanding.size, 2)
})
