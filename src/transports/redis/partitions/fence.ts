import { sleep } from '../../../core/clock.ts'
import { endConnection } from '../connection/connection-identity.ts'
import type { ConnectionIdentity } from '../connection/connection-identity.ts'
import type { RedisContext } from '../context.ts'
import { isPassing, LostReplyError } from '../errors.ts'
import type { PartitionState } from './partition-state.ts'

const AGAIN_MS = 200

/**
 * Closes the connection that a former owner reads on. Its lease expired: it is dead, disconnected, or stopped. If it is
 * stopped in the middle of a read, that read would receive messages that are ours now.
 */
export async function fenceFormerOwner(
  { commands, host, reports }: RedisContext,
  partition: PartitionState,
  identity: ConnectionIdentity,
): Promise<void> {
  for (;;) {
    try {
      const ended = await endConnection((args) => commands.call(partition.keys.stream, args), identity)
      if (ended === 'forbidden') reports.killForbidden()
      return
    } catch (error) {
      // The next attempt waits for the next connection.
      if (error instanceof LostReplyError) continue
      if (!isPassing(error)) return
      await sleep(host.clock, AGAIN_MS)
    }
  }
}
