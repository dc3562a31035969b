import type { Options } from 'amqplib'
import { keepsQueuesOfDeadNodes, serverInfo } from '../connection/amqp.ts'
import type { ResolvedConsumerOptions } from '../consume/consumer-options.ts'
import { DeclareChannel } from './declare-channel.ts'
import { REPLY, replyCode } from '../errors.ts'
import type { LiveConnection } from '../connection/live-connection.ts'

/** How long the queue of a process that died stays. */
const EXPIRES_MS = 60_000
/** A consumer without acks stops while it holds enough, and its queue must still exist when it continues. */
const EXPIRES_NO_ACK_MS = 600_000

/**
 * How the queue of a broadcast is declared. It is exclusive, except where the broker keeps the queues of dead nodes: an
 * exclusive queue can't be deleted then, but this one can, by its consumer once connected to another node.
 */
export function broadcastQueue(
  { model }: LiveConnection,
  { arguments: args, noAck }: Pick<ResolvedConsumerOptions, 'arguments' | 'noAck'>,
): Options.AssertQueue {
  if (!keepsQueuesOfDeadNodes(serverInfo(model))) return { exclusive: true, durable: false, arguments: args }
  const expires = noAck ? EXPIRES_NO_ACK_MS : EXPIRES_MS
  return { durable: true, arguments: { 'x-queue-type': 'classic', 'x-expires': expires, ...args } }
}

/** Deletes queues that the consumer had on earlier connections. */
export async function deleteBroadcasts(live: LiveConnection, queues: readonly string[]): Promise<void> {
  const declaring = new DeclareChannel(live)
  try {
    for (const queue of queues)
      await declaring
        .exists((channel) => channel.deleteQueue(queue))
        .catch((error: unknown) => {
          // The broker deletes it when it notices that the connection has ended.
          if (replyCode(error) !== REPLY.resourceLocked) throw error
        })
  } finally {
    await declaring.close()
  }
}
