import { UnsupportedError } from '../../../core/errors.ts'
import type { StartFrom, SubscriptionSpec } from '../../../core/transport.ts'
import type { ConfigEntry, NewShareGroupOffset, ShareGroupOffset } from '../../../kafka/index.ts'
import { codeOf } from '../admin/error-code.ts'
import { startOffsets } from '../admin/start-offsets.ts'
import type { KafkaContext } from '../context.ts'
import { isAuthorization } from '../errors.ts'

const SUFFIX = '.share'
/** Of the brokers, unless their configuration or that of the group says otherwise. */
const DEFAULT_LIMIT = 5
const NO_SHARE_GROUPS = new Set(['UNSUPPORTED_API', 'UNSUPPORTED_VERSION'])
const CONFIGS = ['share.delivery.count.limit', 'share.isolation.level', 'share.auto.offset.reset']

/** The broker has no share groups. */
export function isUnsupported(error: unknown): boolean {
  return NO_SHARE_GROUPS.has(codeOf(error))
}

/** Name of the share group at the broker: no ordinary group may have the same. */
export function shareGroupOf(groupId: string): string {
  return groupId + SUFFIX
}

/** The group that a share group is the share group of; undefined for a name that is none of ours. */
export function groupIdOfShare(shareGroup: string): string | undefined {
  return shareGroup.endsWith(SUFFIX) ? shareGroup.slice(0, -SUFFIX.length) : undefined
}

/**
 * Prepares a share group for a subscription, so that everything that is published from then on reaches it. Resolves with how often the broker
 * delivers a message at most. Rejects with an `UnsupportedError` where that, or the broker, rules it out.
 */
export async function prepareShareGroup(
  context: KafkaContext,
  spec: SubscriptionSpec,
  topics: readonly string[],
): Promise<number> {
  const group = shareGroupOf(context.groupId(spec.group))
  const known = await offsetsOf(context, spec, group)
  const configs = await configsOf(context, group)
  const limit = await deliveryLimit(context, configs)
  checkAttempts(spec, group, limit)
  await setDefaults(context, group, configs)
  await setStarts(context, spec, group, topics, known)
  return limit
}

/** Asks for what only a broker with share groups answers. */
async function offsetsOf(
  { client }: KafkaContext,
  { topic }: SubscriptionSpec,
  group: string,
): Promise<readonly ShareGroupOffset[]> {
  try {
    return await client.admin().shareOffsets.list(group)
  } catch (error) {
    if (!isUnsupported(error)) throw error
    throw new UnsupportedError(
      `native.share can't be used for the consumer of "${topic}": these brokers have no share groups. They need Kafka 4.2 or later; leave out native.share to read with an ordinary group`,
    )
  }
}

/** Undefined where they may not be looked at. */
async function configsOf(
  { client, reports }: KafkaContext,
  group: string,
): Promise<ReadonlyMap<string, ConfigEntry> | undefined> {
  try {
    const entries = await client.admin().configs.describe({ type: 'group', name: group }, CONFIGS)
    return new Map(entries.map((entry) => [entry.name, entry]))
  } catch (error) {
    if (!isAuthorization(error)) throw error
    reports.warnOnce(
      'share-configs',
      `the configuration of share group "${group}" can't be read: an ACL must allow DescribeConfigs on the group. A delivery limit of ${DEFAULT_LIMIT} is assumed`,
    )
    return undefined
  }
}

/** A group of Kafka 4.2 has no limit of its own. */
async function deliveryLimit(
  { client }: KafkaContext,
  configs: ReadonlyMap<string, ConfigEntry> | undefined,
): Promise<number> {
  const own = configs?.get('share.delivery.count.limit')?.value
  if (own !== undefined && own !== null) return Number(own)
  try {
    const admin = client.admin()
    const [broker] = (await admin.cluster.describe()).brokers
    const names = ['group.share.delivery.count.limit']
    const [entry] = await admin.configs.describe({ type: 'broker', name: String(broker?.id) }, names)
    return Number(entry?.value ?? DEFAULT_LIMIT)
  } catch (error) {
    if (!isAuthorization(error)) throw error
    return DEFAULT_LIMIT
  }
}

/** At the last delivery no handler may start: if it killed the process, the broker would drop the message in silence. */
function checkAttempts({ topic, attempts }: SubscriptionSpec, group: string, limit: number): void {
  if (attempts === undefined || attempts < limit) return
  throw new UnsupportedError(
    `native.share can't be used for the consumer of "${topic}": retry.attempts is ${attempts}, and the broker drops a message in silence after ${limit} deliveries, the last of which is needed for its dead letter. Set retry.attempts to ${limit - 1} or less, or share.delivery.count.limit of the group "${group}" to more than ${attempts}`,
  )
}

/** What somebody has set stays. */
async function setDefaults(
  { client, reports }: KafkaContext,
  group: string,
  configs: ReadonlyMap<string, ConfigEntry> | undefined,
): Promise<void> {
  const wanted = {
    'share.isolation.level': 'read_committed',
    // Of partitions that are added later: those that are there get their starts by `setStarts`.
    'share.auto.offset.reset': 'earliest',
  }
  const set = Object.fromEntries(Object.entries(wanted).filter(([name]) => configs?.get(name)?.isDefault === true))
  if (Object.keys(set).length === 0) return
  try {
    await client.admin().configs.alter({ type: 'group', name: group }, { set })
  } catch (error) {
    if (!isAuthorization(error)) throw error
    const entries = Object.entries(set).map(([name, value]) => `${name}=${value}`)
    reports.warnOnce(
      'share-configs',
      `share group "${group}" could not be configured: an ACL must allow AlterConfigs on the group, or set ${entries.join(' and ')} yourself. Until then it also reads messages of transactions that are not committed, and passes what is published to new partitions before it knows them`,
    )
  }
}

async function setStarts(
  { client }: KafkaContext,
  spec: SubscriptionSpec,
  group: string,
  topics: readonly string[],
  known: readonly ShareGroupOffset[],
): Promise<void> {
  const admin = client.admin()
  const starts: NewShareGroupOffset[] = []
  for (const topic of topics) {
    const begun = new Set(known.filter((each) => each.topic === topic && each.startOffset >= 0).map(partitionOf))
    // A group that is known has missed all of a partition where it has not begun.
    const from: StartFrom = begun.size > 0 ? 'earliest' : spec.from
    for (const [partition, startOffset] of await startOffsets(admin, topic, from))
      if (!begun.has(partition)) starts.push({ topic, partition, startOffset })
  }
  if (starts.length === 0) return
  try {
    await admin.shareOffsets.alter(group, starts)
  } catch (error) {
    if (codeOf(error) !== 'NON_EMPTY_GROUP') throw error
    await checkBegun(spec, group, starts, await admin.shareOffsets.list(group))
  }
}

/** Another member was faster, or has other topics. */
async function checkBegun(
  { topic, from }: SubscriptionSpec,
  group: string,
  starts: readonly NewShareGroupOffset[],
  known: readonly ShareGroupOffset[],
): Promise<void> {
  const begun = new Set(known.filter(({ startOffset }) => startOffset >= 0).map(nameOf))
  // Those begin where `share.auto.offset.reset` says.
  if (from === 'earliest' || starts.every((start) => begun.has(nameOf(start)))) return
  throw new UnsupportedError(
    `The consumer of "${topic}" can't begin where \`from\` says: share group "${group}" has members, and Kafka lets nobody set where it begins in another topic meanwhile. Start this consumer first, with the others of its group in the same bus, or say from: 'earliest'`,
  )
}

function partitionOf({ partition }: ShareGroupOffset): number {
  return partition
}

function nameOf({ topic, partition }: { readonly topic: string; readonly partition: number }): string {
  return `${topic}/${partition}`
}
