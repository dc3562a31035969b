import type { TransportHost } from '../../core/transport.ts'
import type { RedisContext } from './context.ts'
import { LostReplyError, replyCode } from './errors.ts'
import type { PartitionState } from './partition-state.ts'

/**
 * Closes the connection that a former owner reads by. Its lease ran out: it is dead, cut off, or stopped. If it is stopped in
 * the middle of a read, that read would be given messages that are ours now.
 */
export async function cutOff(
  { wire, host }: RedisContext,
  partition: PartitionState,
  connection: string,
): Promise<void> {
  const [id = '', address = ''] = connection.split(' ')
  for (;;) {
    try {
      // With the address: the id may have been given to somebody else since, by another process of the server.
      await wire.call(partition.keys.stream, ['CLIENT', 'KILL', 'ID', id, 'ADDR', address])
      return
    } catch (error) {
      // Waits for the next connection.
      if (error instanceof LostReplyError) continue
      if (replyCode(error) === 'NOPERM') warn(host)
      return
    }
  }
}

function warn({ events, name }: TransportHost): void {
  events.emit('warning', {
    transport: name,
    code: 'redis-acl',
    detail:
      'This user may not run CLIENT KILL: a member that is stopped for longer than leaseMs while it reads may be given messages out of order. Allow +client|kill.',
  })
}
