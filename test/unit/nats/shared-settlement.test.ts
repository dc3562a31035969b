import assert from 'node:assert/strict'
import { describe, test } from 'vitest'
import { manualClock } from 'busbar/testing'
import type { EncodedMessage } from '../../../src/core/message.ts'
import { Incoming } from '../../../src/transports/nats/connection/incoming.ts'
import { NatsDelivery } from '../../../src/transports/nats/jetstream/shared/delivery.ts'
import type { PullConsumer } from '../../../src/transports/nats/jetstream/shared/pull-consumer.ts'
import { SharedSettlement } from '../../../src/transports/nats/jetstream/shared/shared-settlement.ts'
import type { SettlementParts } from '../../../src/transports/nats/jetstream/shared/shared-settlement.ts'

/** One delivery, whose note is being written until the test says so. */
class Bench {
  readonly consumer = { leaseGeneration: 0 }
  readonly delivery: NatsDelivery
  readonly settling: SharedSettlement
  readonly isConnected: boolean
  readonly noted: PromiseWithResolvers<void> = Promise.withResolvers<void>()
  /** What went to the server. */
  readonly sent: string[] = []

  constructor(isConnected = true) {
    this.isConnected = isConnected
    const consumer = this.consumer as unknown as PullConsumer
    const native = new Incoming()
    native.reply = 'reply'
    this.delivery = new NatsDelivery(consumer, {} as EncodedMessage, 'busbar.any.orders', native, 1, 1, false, true, 0)
    const parts = {
      session: {
        ready: this.isConnected,
        host: { clock: manualClock() },
        writeBuffer: {
          publish: (to: string) => void this.sent.push(to),
          publishTo: (to: Buffer, start: number, end: number) => void this.sent.push(to.toString('latin1', start, end)),
          flush: () => undefined,
        },
        request: (to: string) => Promise.resolve(void this.sent.push(to)),
      },
      notes: { write: () => this.noted.promise },
    }
    this.settling = new SharedSettlement(parts as unknown as SettlementParts)
  }
}

describe('a delivery that goes back while its note is written', () => {
  test('goes back', async () => {
    const { settling, delivery, noted, sent } = new Bench()
    const back = settling.handBack([{ delivery, used: 0, delayMs: 0, inOrder: false }])
    assert.deepEqual(sent, [])
    noted.resolve()
    await back
    assert.deepEqual(sent, ['reply'])
  })

  test('comes back by itself when there is no connection', async () => {
    const { settling, delivery, sent } = new Bench(false)
    await settling.handBack([{ delivery, used: 0, delayMs: 0, inOrder: false }])
    assert.deepEqual(sent, [])
  })

  test('does not when the consumer was lost meanwhile: it may be here again, for another handler', async () => {
    const { settling, delivery, noted, consumer, sent } = new Bench()
    const back = settling.handBack([{ delivery, used: 0, delayMs: 0, inOrder: false }])
    const delay = settling.delay(delivery, 100, true)
    consumer.leaseGeneration++
    noted.resolve()
    await Promise.all([back, delay])
    assert.deepEqual(sent, [])
  })
})
