import type { OutgoingMessage } from '../../../core/message.ts'
import type { PublishOutcome } from '../../../core/transport.ts'
import { USED } from '../wire/mapping.ts'
import type { ShareDelivery } from './share-delivery.ts'

/** A shorter wait is not worth a copy. */
const LEAST_WAIT_MS = 1_000

export interface GiveBackHost {
  now(): number
  readonly group: string
  /** The broker drops a message in silence that has been acquired so often. */
  readonly deliveryLimit: number
  publish(batch: readonly OutgoingMessage[]): Promise<readonly PublishOutcome[]>
  failed(error: unknown): void
}

/**
 * Gives deliveries back that have no outcome, for another member. A release leaves the delivery counted, and the time of the next attempt
 * would be forgotten. So where the next delivery would be the last, or the message has to wait, a copy of it is stored for this group,
 * with its attempts and its time, and then the message is accepted. Never rejects.
 */
export async function giveBack(host: GiveBackHost, deliveries: readonly ShareDelivery[]): Promise<void> {
  const copied: ShareDelivery[] = []
  for (const delivery of deliveries) {
    const waits = delivery.dueAt - host.now() > LEAST_WAIT_MS
    // The next delivery must not be one at which no handler may start.
    if (waits || delivery.record.deliveryCount + 2 > host.deliveryLimit) copied.push(delivery)
    else delivery.record.release()
  }
  if (copied.length === 0) return
  const outcomes = await host.publish(copied.map((delivery) => copyOf(delivery, host.group)))
  for (const [index, { record }] of copied.entries()) {
    const error = outcomes[index]?.error
    if (error === undefined) record.accept()
    else {
      record.release()
      host.failed(error)
    }
  }
}

function copyOf({ message, attempt, dueAt }: ShareDelivery, group: string): OutgoingMessage {
  const headers = attempt > 1 ? { ...message.headers, [USED]: String(attempt - 1) } : message.headers
  return { ...message, headers, group, deliverAt: dueAt > 0 ? dueAt : undefined }
}
