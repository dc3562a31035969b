import type { Timer } from '../../../../core/clock.ts'
import type { DeliveringConsumer, NatsDelivery } from '../shared/delivery.ts'
import { isNotFound } from '../../errors.ts'
import type { Credit } from './credit.ts'
import type { JetStreamApi } from '../server/jetstream-api.ts'
import type { SharedConsumers } from '../shared/shared-consumers.ts'
import type { PartitionSet } from '../partitions/partition-set.ts'
import type { Session } from '../../connection/session.ts'

const WORKING: Uint8Array = Buffer.from('+WPI')
/** Minimum interval between checks of how far the group has come. */
const LOOK_MS = 15_000

export interface MaintenanceParts {
  readonly session: Session
  readonly api: JetStreamApi
  readonly shared: SharedConsumers
  readonly credit: Credit
  readonly set: PartitionSet | undefined
}

/** Maintains a subscription three times per lease: what is silent, what waits too long, what has expired. */
export class Maintenance {
  readonly #parts: MaintenanceParts
  #timer: Timer | undefined
  #lookedAt: number
  #stopped = false

  constructor(parts: MaintenanceParts) {
    this.#parts = parts
    this.#lookedAt = parts.session.host.clock.monotonic()
  }

  start(): void {
    if (this.#stopped) return
    const { session, shared } = this.#parts
    this.#timer = session.host.clock.setTimer(shared.leaseMs / 3, () => {
      this.#round()
        .catch((error: unknown) => session.error(error, 'looking after a subscription'))
        .finally(() => this.start())
    })
  }

  stop(): void {
    this.#stopped = true
    this.#timer?.cancel()
  }

  /** Reports to the server that these are being worked on. */
  async extend(deliveries: readonly NatsDelivery[]): Promise<void> {
    const { session } = this.#parts
    if (!session.ready) return
    const at = session.host.clock.monotonic()
    const extended: NatsDelivery[] = []
    for (const delivery of deliveries) {
      if (delivery.lost || delivery.settled) continue
      delivery.answer(session.writeBuffer, '', WORKING)
      extended.push(delivery)
    }
    if (extended.length === 0) return
    try {
      await session.flush()
    } catch {
      // The connection is lost. What is not extended before its time is over is reported lost.
      return
    }
    for (const delivery of extended) delivery.touchedAt = at
  }

  async #round(): Promise<void> {
    const { session, shared, credit, set } = this.#parts
    const { all, confirmations, losses } = shared
    this.#findRunOut()
    if (!session.ready) return
    for (const consumer of all)
      if (consumer.active && consumer.pulls.checkHeartbeat())
        session.warning(
          'nats-missed-heartbeats',
          `consumer "${consumer.name}" fell silent while it was asked; it is asked again`,
        )
    for (const reader of set?.readers.all ?? []) if (reader.active && reader.pulls.isSilent) reader.reset()
    await confirmations.check((delivery) => this.#answers(delivery.consumer))
    credit.wake()
    // What other members could take does not wait here for credit for long.
    const idle = credit.hasCredit ? [] : all.flatMap((consumer) => consumer.dropBuffer())
    if (idle.length > 0) await shared.handBack(idle)
    const now = session.host.clock.monotonic()
    if (now - this.#lookedAt < Math.min(LOOK_MS, shared.leaseMs)) return
    this.#lookedAt = now
    await Promise.all([
      losses.look(all.filter((consumer) => consumer.active && !losses.isQuiet(consumer))),
      set?.look(),
    ])
  }

  async #answers({ stream, name }: DeliveringConsumer): Promise<boolean> {
    try {
      await this.#parts.api.consumerInfo(stream, name)
      return true
    } catch (error) {
      return isNotFound(error)
    }
  }

  /** Deliveries whose time expired at the server before we could extend it: other members may have them. */
  #findRunOut(): void {
    const now = this.#parts.session.host.clock.monotonic()
    for (const consumer of this.#parts.shared.all) {
      const lost: NatsDelivery[] = []
      for (let delivery = consumer.outstanding.first; delivery !== undefined;) {
        const next: NatsDelivery | undefined = delivery.next
        if (now - delivery.touchedAt > consumer.ackWaitMs) {
          delivery.lost = true
          consumer.outstanding.remove(delivery)
          lost.push(delivery)
        }
        delivery = next
      }
      if (lost.length > 0) this.#parts.shared.lost(lost, 'its ack wait ran out before it could be extended')
    }
  }
}
