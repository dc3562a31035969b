import { UnsupportedError } from '../../../core/errors.ts'
import { isDeadLetterTopic } from '../../../core/topic.ts'
import type {
  GroupInfo,
  PartitionInfo,
  RetentionInfo,
  StartFrom,
  StoredMessage,
  TopicInfo,
  TransportAdmin,
} from '../../../core/transport.ts'
import type { Position } from '../../../core/message.ts'
import type { RedisContext } from '../context.ts'
import { compareIds } from '../topology/compare-ids.ts'
import { groupState } from '../topology/group-state.ts'
import type { PartitionOfGroup } from '../topology/group-state.ts'
import { forgetGroup } from '../topology/ephemeral.ts'
import { replyCode } from '../errors.ts'
import { memberProcesses } from '../topology/member-processes.ts'
import { atOnce } from '../scripts/at-once.ts'
import { partitionName } from '../topology/keys.ts'
import type { PartitionKeys } from '../topology/keys.ts'
import { EntryReader } from '../wire/mapping.ts'
import { COUNT_AFTER, GROUP_NAMES, REMOVE, TOPIC_INFO } from '../scripts/look.ts'
import { PURGE, SEEK } from '../scripts/move.ts'
import { idBefore, startId } from '../topology/start-id.ts'

const REMOVE_AT_ONCE = 500

/** `moved`: a group was moved or deleted here, so members in this process should check. */
export function redisAdmin(
  context: () => RedisContext,
  moved: (topic: string, group: string) => Promise<void>,
): TransportAdmin {
  async function partitionsOf(topic: string): Promise<PartitionKeys[]> {
    const { topics, keys } = context()
    const count = await topics.register(topic)
    return Array.from({ length: count }, (_, partition) => keys.partition(topic, partition))
  }

  async function topicInfo(topic: string): Promise<TopicInfo> {
    const { scripts } = context()
    const infos = (await Promise.all(
      (await partitionsOf(topic)).map(({ stream }) => scripts.run(TOPIC_INFO, [stream], [])),
    )) as readonly (readonly [number, Buffer, number])[]
    const oldest = infos.map(([, id]) => msOf(String(id))).filter((ms) => ms !== undefined)
    return {
      topic,
      messages: sum(infos.map(([count]) => count)),
      bytes: infos.some(([, , bytes]) => bytes < 0) ? undefined : sum(infos.map(([, , bytes]) => bytes)),
      oldestAt: oldest.length === 0 ? undefined : Math.min(...oldest),
      retention: retentionOf(topic),
    }
  }

  /** As this process applies it; another one may have other limits. Dead letters are never trimmed. */
  function retentionOf(topic: string): RetentionInfo {
    const { maxMessages, maxAgeMs } = context().options.retention
    return isDeadLetterTopic(topic) ? {} : { maxAgeMs, maxMessages }
  }

  /** Each group costs several commands for each partition. */
  async function groupsOf(topic: string, only: string | undefined): Promise<GroupInfo[]> {
    const partitions = await partitionsOf(topic)
    const names = only === undefined ? await groupNames(partitions) : [only]
    return (await Promise.all(names.map((group) => groupInfo(topic, group, partitions)))).filter(
      (info) => info !== undefined,
    )
  }

  async function groupNames(partitions: readonly PartitionKeys[]): Promise<readonly string[]> {
    const { scripts, commands } = context()
    const streams = partitions.map(({ stream }) => stream)
    const lists = (await Promise.all(
      atOnce(streams, commands).map((some) => scripts.run(GROUP_NAMES, some, [])),
    )) as readonly (readonly Buffer[])[]
    return [...new Set(lists.flat().map(String))].sort()
  }

  /** Undefined when it exists in no partition. */
  async function groupInfo(
    topic: string,
    group: string,
    keys: readonly PartitionKeys[],
  ): Promise<GroupInfo | undefined> {
    const { commands, lease, keys: names } = context()
    const [states, processes] = await Promise.all([
      groupState(
        context(),
        keys.map((partition) => ({ keys: partition, group: names.group(partition, group) })),
      ),
      memberProcesses(commands, names.assignment(topic, group)),
    ])
    if (!states.some(({ exists }) => exists)) return undefined
    const owners = states.map((state) => ownerOf(state).process).filter((process) => process !== '')
    const living = await lease.livingOf([...new Set([...processes, ...owners])])
    const partitions = await Promise.all(
      states.map((state, at) => partitionInfo(keys[at] as PartitionKeys, group, state, living)),
    )
    const oldest = partitions.map(({ oldestUnackedAt }) => oldestUnackedAt).filter((ms) => ms !== undefined)
    return {
      topic,
      group,
      lag: sum(partitions.map(({ lag }) => lag)),
      inFlight: sum(partitions.map(({ inFlight }) => inFlight)),
      ready: sum(partitions.map(({ ready }) => ready)),
      members: processes.filter((process) => living.has(process)).length,
      oldestUnackedAt: oldest.length === 0 ? undefined : Math.min(...oldest),
      partitions,
    }
  }

  async function partitionInfo(
    partition: PartitionKeys,
    group: string,
    state: PartitionOfGroup,
    living: ReadonlySet<string>,
  ) {
    const { process, member } = ownerOf(state)
    const { pending, waiting, due, settled, unsettled } = state
    const rest = await Promise.all([
      countAfter(partition.stream, state.more),
      countAfter(context().keys.group(partition, group).side, state.sideMore),
    ])
    const unread = sum([state.unread, ...rest])
    const at = (id: string): Position | undefined => (id === '' ? undefined : { partition: partition.partition, id })
    return {
      partition: partitionName(partition),
      lag: unread + pending + state.delayed,
      inFlight: Math.max(0, pending - waiting - due),
      ready: unread + due,
      // What it has settled may have been removed since.
      position: at(settled === '' && unsettled !== '' && state.wasTrimmed ? idBefore(unsettled) : settled),
      head: at(state.head),
      start: at(state.start),
      oldestUnackedAt: msOf(state.oldest),
      member: living.has(process) ? member : undefined,
    } satisfies PartitionInfo
  }

  /** Counts a long backlog in several steps, so that none of them blocks the server. */
  async function countAfter(stream: string, after: string): Promise<number> {
    let total = 0
    for (let from = after; from !== '';) {
      const [count, next] = (await context().scripts.run(COUNT_AFTER, [stream], [from])) as readonly [number, Buffer]
      total += count
      from = String(next)
    }
    return total
  }

  return {
    ensureTopic: async (topic) => void (await partitionsOf(topic)),
    async topics() {
      const names = [...(await context().topics.list()).keys()].sort()
      return Promise.all(names.map(topicInfo))
    },
    async groups(topic, group) {
      const names = topic === undefined ? [...(await context().topics.list()).keys()].sort() : [topic]
      return (await Promise.all(names.map((name) => groupsOf(name, group)))).flat()
    },
    async seek(topic, group, to: StartFrom) {
      const { scripts, keys } = context()
      await Promise.all(
        (await partitionsOf(topic)).map((partition) => {
          const { meta, later, notes } = keys.group(partition, group)
          return scripts.run(
            SEEK,
            [partition.stream, meta, later, notes],
            [group, startId(to, partition.partition), String(partition.partition)],
          )
        }),
      )
      await moved(topic, group)
    },
    read: async (topic, { after, limit }) => readRange(context(), topic, await partitionsOf(topic), after, limit),
    async remove(topic, positions) {
      const { scripts } = context()
      const partitions = await partitionsOf(topic)
      let removed = 0
      for (const { partition, stream } of partitions) {
        const ids = positions
          .filter((position) => Number(position['partition']) === partition && position['side'] === undefined)
          .map((position) => String(position['id']))
        for (let at = 0; at < ids.length; at += REMOVE_AT_ONCE)
          removed += Number(await scripts.run(REMOVE, [stream], ids.slice(at, at + REMOVE_AT_ONCE)))
      }
      return removed
    },
    async purge(topic) {
      const { scripts, keys } = context()
      const partitions = await partitionsOf(topic)
      const replies = (await Promise.all(
        partitions.map((partition) =>
          scripts.run(
            PURGE,
            [partition.stream, partition.delayed],
            [String(partition.partition), keys.group(partition, '').meta],
          ),
        ),
      )) as readonly (readonly [number, ...Buffer[]])[]
      const groups = new Set(replies.flatMap(([, ...names]) => names.map(String)))
      await Promise.all([...groups].map((group) => moved(topic, group)))
      return sum(replies.map(([count]) => count))
    },
    async deleteGroup(topic, group) {
      await forgetGroup(context(), topic, group, (await partitionsOf(topic)).length)
      await moved(topic, group)
    },
  }
}

function ownerOf({ owner }: PartitionOfGroup): { readonly process: string; readonly member: string | undefined } {
  const [process = '', member] = owner.split(/ (.*)/, 2)
  return { process, member }
}

/** Reads all partitions as one, by the time of their entries. Within a key that is the order of publication. */
async function readRange(
  { commands }: RedisContext,
  topic: string,
  partitions: readonly PartitionKeys[],
  after: Position | undefined,
  limit: number,
): Promise<readonly StoredMessage[]> {
  const reader = new EntryReader()
  const afterId = after === undefined ? undefined : String(after['id'])
  const afterPartition = Number(after?.['partition'] ?? -1)
  const pages = await Promise.all(
    partitions.map(async ({ stream, partition }) => {
      // If two partitions have the same id, that of the lower partition comes first.
      const start = afterId === undefined ? '-' : partition <= afterPartition ? `(${afterId}` : afterId
      try {
        const entries = (await commands.call(stream, [
          'XRANGE',
          stream,
          start,
          '+',
          'COUNT',
          String(limit),
        ])) as readonly (readonly [Buffer, readonly Buffer[]])[]
        return entries.map(([bytes, fields]) => ({ partition, id: String(bytes), fields }))
      } catch (error) {
        if (replyCode(error) === 'WRONGTYPE')
          throw new UnsupportedError(`The key ${stream} holds no stream, but something else`)
        throw error
      }
    }),
  )
  return pages
    .flat()
    .sort((a, b) => compareIds(a.id, b.id) || a.partition - b.partition)
    .slice(0, limit)
    .map(({ partition, id, fields }) => ({
      message: reader.read(fields, { topic, partition, id }),
      position: { partition, id },
    }))
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0)
}

/** Stream ids are milliseconds of the server's clock. */
function msOf(id: string): number | undefined {
  return id === '' ? undefined : Number(id.split('-', 1)[0])
}
