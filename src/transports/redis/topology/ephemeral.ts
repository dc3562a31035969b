import type { RedisContext } from '../context.ts'
import { NOTE_EPHEMERAL, UNWANTED_EPHEMERAL } from '../scripts/ephemeral.ts'
import { FORGET } from '../scripts/group.ts'

/** Long enough for any reconnect; until then the group of a dead instance does no harm. */
const KEPT_LEASES = 6
const MIN_KEPT_MS = 60_000
const SWEEP_BATCH = 20

function entry(topic: string, group: string): string {
  return `${topic} ${group}`
}

/**
 * Periodically marks a group that belongs to one subscription as still in use, by the clock of the server, which all
 * share.
 */
export async function noteEphemeral(
  { scripts, keys, options }: RedisContext,
  topic: string,
  group: string,
): Promise<void> {
  const keptMs = Math.max(MIN_KEPT_MS, options.leaseMs * KEPT_LEASES)
  await scripts.run(NOTE_EPHEMERAL, [keys.ephemeral], [entry(topic, group), String(keptMs)])
}

/** Deletes such a group, with everything that it has on the server. */
export async function removeEphemeral(
  context: RedisContext,
  topic: string,
  group: string,
  partitions: number,
): Promise<void> {
  await forgetGroup(context, topic, group, partitions)
  const { commands, keys } = context
  await commands.call(keys.ephemeral, ['ZREM', keys.ephemeral, entry(topic, group)])
}

export async function forgetGroup(
  { scripts, commands, keys }: RedisContext,
  topic: string,
  group: string,
  partitions: number,
): Promise<void> {
  const assignment = keys.assignment(topic, group)
  await Promise.all([
    ...Array.from({ length: partitions }, (_, index) => {
      const partition = keys.partition(topic, index)
      const of = keys.group(partition, group)
      return scripts.run(
        FORGET,
        [partition.stream, of.meta, of.later, of.notes, of.side, of.sideLater, of.sideNotes, of.delayed],
        [group, String(index)],
      )
    }),
    commands.call(assignment, ['DEL', assignment]),
  ])
}

/** Deletes the groups of instances that died without leaving: they would hold streams above their limits forever. */
export async function sweepEphemeral(context: RedisContext): Promise<void> {
  const { scripts, keys, topics } = context
  const dead = (await scripts.run(UNWANTED_EPHEMERAL, [keys.ephemeral], [String(SWEEP_BATCH)])) as readonly Buffer[]
  for (const text of dead.map(String)) {
    const [topic = '', group = ''] = text.split(' ')
    const partitions = await topics.register(topic)
    await removeEphemeral(context, topic, group, partitions)
  }
}
