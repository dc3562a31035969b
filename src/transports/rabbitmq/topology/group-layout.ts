import { ConfigurationError } from '../../../core/errors.ts'
import { ALL_TOPICS, partitionQueue } from './names.ts'

/**
 * How the messages of a group are stored on the broker.
 *
 * - `none`: one queue that all members consume at once. No order across members.
 * - `strict`: one queue with a single active consumer; the others stand by.
 * - `key`: several such queues. A key always goes to the same one, so that its messages are with one member at a time
 *   and in order, while the members share the queues.
 */
export interface GroupLayout {
  readonly order: 'none' | 'key' | 'strict'
  /** Number of queues; 1 unless `order` is `key`. */
  readonly partitions: number
  /** Set when the queues are those of the group, for all of its topics (`queues: 'per-group'`). */
  readonly perGroup?: true | undefined
}

/** Raised whenever names, bindings or arguments change: members of different versions must not share a group. */
const VERSION = 'v2'
const FORM = /\bdead\.(v\d+)\.(none|strict|(key|group)(\d{1,2}))\.([A-Za-z0-9_-]+)/

/**
 * The routing key of messages that the broker itself gives up. It is an argument of the group's first queue, and the
 * broker refuses a declaration with another one: so members with other layouts notice.
 */
export function deadKeyOf({ order, partitions, perGroup }: GroupLayout, group: string): string {
  const form = order === 'key' ? `${perGroup === true ? 'group' : 'key'}${partitions}` : order
  return `dead.${VERSION}.${form}.${group}`
}

/** Binding key for all of them. */
export const DEAD_KEYS = 'dead.#'

export interface DeadKey {
  readonly version: string
  readonly layout: GroupLayout
  readonly group: string
}

/** Finds such a key in a text; undefined when there is none. */
export function findDeadKey(text: string): DeadKey | undefined {
  const found = FORM.exec(text)
  if (found === null) return undefined
  const [, version = '', order = '', scope, partitions, group = ''] = found
  const layout: GroupLayout =
    partitions === undefined
      ? { order: order as 'none' | 'strict', partitions: 1 }
      : { order: 'key', partitions: Number(partitions), ...(scope === 'group' ? { perGroup: true } : {}) }
  return { version, layout, group }
}

export function isCurrent({ version }: DeadKey): boolean {
  return version === VERSION
}

/** The queues of a group with that layout, by its first one. */
export function queuesOf(first: string, { partitions }: GroupLayout): readonly string[] {
  return Array.from({ length: partitions }, (_, partition) => partitionQueue(first, partition))
}

/** How errors name a group, or the queues that all of its topics share. */
export function nameOfGroup(topic: string, group: string): string {
  return topic === ALL_TOPICS ? `The group "${group}" with queues: 'per-group'` : `The group "${group}" of "${topic}"`
}

export function isSameLayout(a: GroupLayout, b: GroupLayout): boolean {
  return a.order === b.order && a.partitions === b.partitions && a.perGroup === b.perGroup
}

/**
 * The layout to use: the group's existing one, if it keeps at least the wanted order. Otherwise throws
 * `ConfigurationError`.
 */
export function reconcile(topic: string, group: string, wanted: GroupLayout, current: GroupLayout): GroupLayout {
  const isEnough =
    wanted.order === 'none' || current.order === 'strict' || (wanted.order === 'key' && current.order === 'key')
  if (isEnough) return current
  throw new ConfigurationError(nameOfGroup(topic, group), [
    {
      path: 'order',
      message: `exists on the broker with order "${current.order}", which does not keep order "${wanted.order}". Consume it with that order, use another group, or delete it with its messages: bus.admin().deleteGroup("${topic}", "${group}")`,
    },
  ])
}
