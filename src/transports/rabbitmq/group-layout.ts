import { ConfigurationError } from '../../core/errors.ts'

/**
 * How the messages of a group are stored on the broker.
 *
 * - `none`: one queue that all members consume at once. No order across members.
 * - `strict`: one queue with a single active consumer; the others stand by.
 * - `key`: several such queues. A key always goes to the same one, so that its messages are with one member at a time
 *   and in order, while the members share the queues.
 */
export interface GroupLayout {
  readonly order: 'none' | 'strict' | 'key'
  /** Number of queues; 1 unless `order` is `key`. */
  readonly partitions: number
}

/** The layout as text. It is stored with the group's exchange, so that members with different layouts notice. */
export function layoutToken({ order, partitions }: GroupLayout): string {
  return order === 'key' ? `key${partitions}` : order
}

export function parseLayout(token: string | undefined): GroupLayout | undefined {
  if (token === 'none' || token === 'strict') return { order: token, partitions: 1 }
  const found = /^key(\d{1,2})$/.exec(token ?? '')
  return found === null ? undefined : { order: 'key', partitions: Number(found[1]) }
}

/**
 * The layout to use: the group's existing one, if it keeps at least the wanted order. Otherwise throws
 * `ConfigurationError`.
 */
export function reconcile(topic: string, group: string, wanted: GroupLayout, current: GroupLayout): GroupLayout {
  const isEnough =
    wanted.order === 'none' || current.order === 'strict' || (wanted.order === 'key' && current.order === 'key')
  if (isEnough) return current
  throw new ConfigurationError(`The group "${group}" of "${topic}"`, [
    {
      path: 'order',
      message: `exists on the broker with order "${current.order}", which does not keep order "${wanted.order}". Consume it with that order, use another group, or delete it with its messages: bus.admin().deleteGroup("${topic}", "${group}")`,
    },
  ])
}
