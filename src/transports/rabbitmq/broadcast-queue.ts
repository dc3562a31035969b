import type { Options } from 'amqplib'
import { keepsQueuesOfDeadNodes, serverInfo } from './amqp.ts'
import type { ResolvedConsumerOptions } from './consumer-options.ts'
import { DeclareChannel } from './declare-channel.ts'
import { REPLY, replyCode } from './errors.ts'
import type { Session } from './link.ts'

/** How long the queue of a process that died stays. */
const EXPIRES_MS = 60_000
/** A consumer without acks stops while it holds enough, and its queue must be there when it goes on. */
const EXPIRES_NO_ACK_MS = 600_000

/**
 * How the queue of a broadcast is declared. It is exclusive, but where the broker keeps the queues of dead nodes: nobody can delete an
 * exclusive one, while the consumer can delete this one as soon as it is connected to another node.
 */
export function broadcastQueue(
  { model }: Session,
  { arguments: args, noAck }: Pick<ResolvedConsumerOptions, 'arguments' | 'noAck'>,
): Options.AssertQueue {
  if (!keepsQueuesOfDeadNodes(serverInfo(model))) return { exclusive: true, durable: false, arguments: args }
  const expires = noAck ? EXPIRES_NO_ACK_MS : EXPIRES_MS
  return { durable: true, arguments: { 'x-queue-type': 'classic', 'x-expires': expires, ...args } }
}

/** Deletes queues that the consumer had on connections before. */
export async function deleteBroadcasts(session: Session, queues: readonly string[]): Promise<void> {
  const declaring = new DeclareChannel(session)
  try {
    for (const queue of queues)
      await declaring
        .exists((channel) => channel.deleteQueue(queue))
        .catch((error: unknown) => {
          // The broker takes it away when it notices that the connection has ended.
          if (replyCode(error) !== REPLY.resourceLocked) throw error
        })
  } finally {
    await declaring.close()
  }
}
