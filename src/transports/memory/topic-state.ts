import { PublishError } from '../../core/errors.ts'
import { LinkedList } from '../../core/util/linked-list.ts'
import type { LinkedNode } from '../../core/util/linked-list.ts'
import { isDeadLetterTopic } from '../../core/topic.ts'
import type { RetentionInfo } from '../../core/transport.ts'
import type { DeliveryQueue } from './delivery.ts'
import type { GroupQueue } from './group-queue.ts'
import { TopicLog } from './log.ts'

/** A message, or a transaction, that waits for room in a topic. */
export interface Waiter extends LinkedNode<Waiter> {
  /** There is room, and the topic no longer has it among its waiters. */
  proceed(): void
}

/** One topic: its log, its groups, and the publishers that wait for them. */
export class TopicState {
  readonly name: string
  readonly log: TopicLog = new TopicLog()
  readonly #groups = new Map<string, GroupQueue>()
  /** The same as a list, which is faster to go through for each message. */
  readonly queues: GroupQueue[] = []
  readonly waiters: LinkedList<Waiter> = new LinkedList()
  readonly #retainMessages: number
  readonly #maxBacklogBytes: number
  /** Dead letters usually have no consumer, and none may be dropped: a full topic refuses new ones instead. */
  readonly #keepAll: boolean

  constructor(name: string, limits: { readonly retainMessages: number; readonly maxBacklogBytes: number }) {
    this.name = name
    this.#retainMessages = limits.retainMessages
    this.#maxBacklogBytes = limits.maxBacklogBytes
    this.#keepAll = isDeadLetterTopic(name)
  }

  get groups(): ReadonlyMap<string, GroupQueue> {
    return this.#groups
  }

  addGroup(queue: GroupQueue): void {
    this.#groups.set(queue.group, queue)
    this.queues.push(queue)
  }

  removeGroup(queue: GroupQueue): void {
    this.#groups.delete(queue.group)
    this.queues.splice(this.queues.indexOf(queue), 1)
  }

  /** False while some group has such a backlog that publishers must wait for it. */
  get hasRoom(): boolean {
    return this.hasRoomOnce(undefined, 0)
  }

  /** The same once a group has acked this many bytes. */
  hasRoomOnce(acking: DeliveryQueue | undefined, bytes: number): boolean {
    if (this.#keepAll) return this.log.bytes < this.#maxBacklogBytes
    for (const group of this.queues)
      if (group.pendingBytes - (group === acking ? bytes : 0) >= this.#maxBacklogBytes) return false
    return true
  }

  get retention(): RetentionInfo {
    return this.#keepAll ? {} : { maxMessages: this.#retainMessages }
  }

  fullError(): PublishError {
    return new PublishError(
      `The topic "${this.name}" holds ${this.#maxBacklogBytes} bytes that some group has not acked, its limit (maxBacklogBytes)`,
      {
        outcome: 'not-sent',
        retryable: true,
      },
    )
  }

  /** Drops old entries that every group has had. Returns how many were dropped that no group ever asked for. */
  trim(): number {
    if (this.#keepAll) return 0
    const { log } = this
    let limit = log.end - this.#retainMessages
    let readers = 0
    for (const group of this.queues) {
      if (!group.started) continue
      readers++
      limit = Math.min(limit, group.cursor)
    }
    const before = log.size
    if (limit > log.start) log.trim(limit)
    if (readers > 0) return 0
    while (log.bytes > this.#maxBacklogBytes) log.trim(log.start + 1)
    return before - log.size
  }

  /** Deletes one message; false when there is none. */
  remove(offset: number): boolean {
    const bytes = this.log.get(offset)?.bytes ?? 0
    if (!this.log.remove(offset)) return false
    for (const group of this.queues) group.removed(offset, bytes)
    return true
  }
}
