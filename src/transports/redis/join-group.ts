import { replyCode } from './errors.ts'
import type { PartitionState } from './partition-state.ts'
import { JOIN } from './scripts/group.ts'
import type { Seat } from './seat.ts'
import { idBefore } from './start-id.ts'

/** Creates the consumer group on a partition where it is missing, to begin after that id. */
export async function joinGroup(
  { context, spec }: Seat,
  partition: PartitionState,
  start: string,
): Promise<{ readonly made: boolean; readonly generation: string }> {
  const reply = (await context.scripts.run(
    JOIN,
    [partition.keys.stream, partition.group.meta],
    [spec.group, start],
  )) as readonly [number, Buffer]
  return { made: reply[0] === 1, generation: String(reply[1]) }
}

/**
 * Makes a group again that somebody deleted under us, alone or with its stream, so that reading goes on from the very next
 * message. Resolves with its generation, or undefined when it was there.
 */
export async function makeGroupAgain(seat: Seat, partition: PartitionState): Promise<string | undefined> {
  const { context, spec } = seat
  const oldest = partition.main.outstanding.first?.id
  // What is out is delivered again; nothing after it is missed, nothing before it comes twice.
  const start = oldest === undefined ? (partition.lastRead ?? '0') : idBefore(oldest)
  if (partition.side !== undefined) await rejoinSide(seat, partition)
  // An error names one stream of many that were read together; most of them are as they were.
  const { made, generation } = await joinGroup(seat, partition, start)
  if (!made) return undefined
  partition.lastRead = start
  seat.lose(partition, 'the group or its stream was deleted')
  context.host.events.emit('warning', {
    transport: context.host.name,
    code: 'redis-group-made-again',
    detail: `Group "${spec.group}" on ${partition.keys.stream} had been deleted, and was made again from ${start === '0' ? 'the start of the stream' : `entry ${start}`}`,
  })
  return generation
}

async function rejoinSide({ context, spec }: Seat, partition: PartitionState): Promise<void> {
  const { side } = partition.group
  try {
    await context.wire.call(side, ['XGROUP', 'CREATE', side, spec.group, '0'])
  } catch (error) {
    const code = replyCode(error)
    if (code === undefined) throw error
    // The whole stream is gone: whoever publishes a copy for the group makes it again. BUSYGROUP: all is well.
    if (code === 'ERR') partition.side = undefined
  }
}
