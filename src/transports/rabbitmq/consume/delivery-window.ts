import { Queue } from '../../../core/util/queue.ts'
import type { ChannelWriter } from '../wire/writer.ts'
import type { RabbitMqDelivery } from './delivery.ts'

/**
 * What one channel has delivered and not had back, oldest first. An ack may be cumulative, but never covers an unsettled
 * delivery. A tag means something on its channel only, so all of it ends with the channel.
 */
export class DeliveryWindow {
  /** Unsettled, or acked but not yet reported. */
  readonly #open = new Queue<RabbitMqDelivery>()
  readonly #acked: RabbitMqDelivery[] = []

  add(delivery: RabbitMqDelivery): void {
    this.#open.push(delivery)
  }

  /** Takes effect with the next `flush`. */
  ack(delivery: RabbitMqDelivery): void {
    delivery.state = 'acked'
    this.#acked.push(delivery)
  }

  /** The oldest unsettled delivery. */
  get oldest(): RabbitMqDelivery | undefined {
    const oldest = this.#open.peek()?.latest
    return oldest === undefined || oldest.state === 'gone' ? undefined : oldest
  }

  /** What its tags belong to now, settled ones included. */
  *latest(): Generator<RabbitMqDelivery, void, undefined> {
    for (const { latest } of this.#open) yield latest
  }

  /** Everything that goes back with the channel. */
  unsettled(): readonly RabbitMqDelivery[] {
    const found: RabbitMqDelivery[] = []
    for (const delivery of this.latest())
      if (delivery.state === 'held' || delivery.state === 'handed' || delivery.state === 'settling')
        found.push(delivery)
    return found
  }

  /**
   * Writes all acks since the last flush: one cumulative ack for those before the first unsettled delivery, and one each
   * for the rest. `sent` gets what was acked.
   */
  flush(writer: ChannelWriter, sent: (acked: readonly RabbitMqDelivery[]) => void): void {
    let upTo: RabbitMqDelivery | undefined
    for (let first = this.#open.peek()?.latest; first !== undefined; first = this.#open.peek()?.latest) {
      if (first.state === 'acked') upTo = first
      else if (first.state !== 'gone') break
      first.state = 'gone'
      this.#open.shift()
    }
    sent(this.#acked)
    if (upTo !== undefined) writer.ack(upTo.deliveryTag, true)
    for (const delivery of this.#acked) {
      if (delivery.state === 'gone') continue
      delivery.state = 'gone'
      writer.ack(delivery.deliveryTag, false)
    }
    this.#acked.length = 0
    writer.flush()
  }

  /** The channel ended. Returns what its tags belonged to. */
  drain(): readonly RabbitMqDelivery[] {
    this.#acked.length = 0
    return this.#open.drain().map(({ latest }) => latest)
  }
}
