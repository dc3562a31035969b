import type { OutgoingFrame } from '../publish/outgoing-frame.ts'

/** Writes frequent commands to one channel: publishes, acks, nacks. Everything else goes through the client library. */
export interface ChannelWriter {
  /** Throws a RangeError when the message does not fit into AMQP; nothing is written then. */
  publish(frame: OutgoingFrame): void
  ack(deliveryTag: number, multiple: boolean): void
  /** Returns the message to the queue, or has the queue dead-letter or drop it. */
  nack(deliveryTag: number, requeue: boolean): void
  /** Sends everything written since the last flush. */
  flush(): void
  /** True while the socket buffers more than it should. */
  readonly isFull: boolean
  /** Calls `listener` once when there is room again. */
  onceDrained(listener: () => void): void
}
