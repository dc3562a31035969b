import assert from 'node:assert/strict'
import { test } from 'vitest'
import type { Delivery } from '../../../src/core/transport.ts'
import { HandOut } from '../../../src/transports/rabbitmq/consume/hand-out.ts'
import { SingleTaker } from '../../../src/transports/rabbitmq/consume/single-taker.ts'
import type { AssignedQueue } from '../../../src/transports/rabbitmq/partitions/queue-assignment.ts'
import { turn } from '../core/stage.ts'

/** Queues that never run out of messages of 100 bytes, and how many were handed out of each. */
function endless(count: number): { readonly handOut: HandOut; readonly taker: SingleTaker; readonly taken: number[] } {
  const taken = Array.from({ length: count }, () => 0)
  const queues = taken.map((_, number) => ({
    isLeaving: false,
    standsByFor: undefined,
    reader: { isOpen: true, bytes: 0, held: [], handed: 0, take: () => ({ bytes: 100, number }) },
  })) as unknown as AssignedQueue[]
  const receive = (batch: readonly Delivery[]): void => {
    for (const delivery of batch) {
      const { number } = delivery as unknown as { number: number }
      taken[number] = (taken[number] ?? 0) + 1
    }
  }
  const taker = new SingleTaker({ receive, lost: () => undefined, recall: () => undefined })
  const handOut = new HandOut({ prefetchBytes: 1_000 } as never, { noAck: false } as never, taker, {
    queues: () => queues,
    mayHandOut: () => true,
    tooLarge: () => undefined,
  })
  return { handOut, taker, taken }
}

test('queues take turns, however little is asked for at a time', async () => {
  const { handOut, taker, taken } = endless(3)
  for (let round = 0; round < 30; round++) {
    taker.request(1, 100)
    handOut.schedule()
    await turn()
  }
  assert.deepEqual(taken, [10, 10, 10])
})

test('a turn is no more than 16 messages, and ends with the bytes that were asked for', async () => {
  const { handOut, taker, taken } = endless(2)
  taker.request(100, 4_000)
  handOut.schedule()
  await turn()
  assert.deepEqual(taken, [24, 16])
})
