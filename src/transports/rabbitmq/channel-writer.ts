import type { Channel } from 'amqplib'
import { rawChannel } from './amqp.ts'
import { ClientWriter } from './client-writer.ts'
import { FrameWriter } from './frame-writer.ts'
import type { Parcel } from './parcel.ts'

/** Writes what is frequent to one channel: publishes, acks, nacks. Everything else goes through the client library. */
export interface ChannelWriter {
  /** Throws a RangeError when the message does not fit into AMQP; nothing of it is written then. */
  publish(parcel: Parcel): void
  ack(deliveryTag: number, multiple: boolean): void
  /** Back to the queue, or for the queue to dead-letter or drop. */
  nack(deliveryTag: number, requeue: boolean): void
  /** Hands over what was written since the last flush, in one go. */
  flush(): void
  /** True while the socket holds more than it should. */
  readonly isFull: boolean
  /** Calls `listener` once when there is room again. */
  onceDrained(listener: () => void): void
}

export function channelWriter(channel: Channel): ChannelWriter {
  const raw = rawChannel(channel)
  return raw === undefined ? new ClientWriter(channel) : new FrameWriter(raw)
}
