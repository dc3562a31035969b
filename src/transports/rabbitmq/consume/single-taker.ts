import type { DeliverySink } from '../../../core/transport.ts'
import { CreditBalance } from '../../../core/util/credit-balance.ts'
import type { RabbitMqDelivery } from './delivery.ts'
import type { Taker } from './hand-out.ts'
import type { QueueConsumer } from './queue-consumer.ts'

/** Takes for one subscription, to which all messages of the queues belong. */
export class SingleTaker implements Taker {
  readonly #sink: DeliverySink
  readonly #credit = new CreditBalance()
  #batch: RabbitMqDelivery[] = []

  constructor(sink: DeliverySink) {
    this.#sink = sink
  }

  get hasCredit(): boolean {
    return this.#credit.isLeft
  }

  request(credit: number, bytes: number): void {
    this.#credit.add(credit, bytes)
  }

  take(reader: QueueConsumer, most: number): number {
    let taken = 0
    for (; taken < most && this.#credit.isLeft; taken++) {
      const delivery = reader.take()
      if (delivery === undefined) break
      this.#credit.spend(delivery.bytes)
      this.#batch.push(delivery)
    }
    return taken
  }

  deliver(): void {
    if (this.#batch.length === 0) return
    const batch = this.#batch
    this.#batch = []
    this.#sink.receive(batch)
  }
}
