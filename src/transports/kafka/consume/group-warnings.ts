import { isDeadLetterTopic } from '../../../core/topic.ts'
import type { TransportHost } from '../../../core/transport.ts'
import type { TopicPartition } from '../../../kafka/index.ts'
import type { Partition } from '../partitions/partition.ts'
import type { Reports } from '../reports.ts'
import type { KafkaSubscription } from './subscription.ts'

/** Partitions that come so many times within so long come too often. */
const STORM = 20
const STORM_MS = 300_000
/** How long after this process has changed what it reads its partitions come for that reason. */
const OWN_CHANGE_MS = 10_000

/** What a group is warned of, each once. */
export class GroupWarnings {
  readonly #reports: Reports
  readonly #clock: TransportHost['clock']
  readonly #groupId: string
  /** When partitions have come. */
  #rebalances: number[] = []
  #ownChangeAt = -Infinity

  constructor(reports: Reports, clock: TransportHost['clock'], groupId: string) {
    this.#reports = reports
    this.#clock = clock
    this.#groupId = groupId
  }

  /** This process reads more topics, or fewer: the group gives partitions for that. */
  changed(): void {
    this.#ownChangeAt = this.#clock.monotonic()
  }

  /** Members that come and go all the time keep a group from its work. */
  rebalanced(): void {
    const now = this.#clock.monotonic()
    if (now - this.#ownChangeAt < OWN_CHANGE_MS) return
    this.#rebalances = this.#rebalances.filter((at) => now - at < STORM_MS)
    this.#rebalances.push(now)
    if (this.#rebalances.length < STORM) return
    this.#rebalances = []
    this.#reports.warnOnce(
      'rebalance-storm',
      `partitions of group "${this.#groupId}" have come to this process ${STORM} times within ${STORM_MS / 60_000} minutes: members come and go, or are taken for dead. Look for restarts, and for handlers that block the event loop for longer than sessionTimeoutMs`,
    )
  }

  /** What the number of partitions has to do with who works, and with where keys are. */
  partitionsOf(subscription: KafkaSubscription): void {
    const { topic, group } = subscription.spec
    const partitions = [...subscription.partitions]
    if (partitions.length === 0 && !subscription.isPattern)
      this.#reports.warnOnce(
        'members-over-partitions',
        `group "${group}" has more members than "${topic}" has partitions: this one stands by until another leaves`,
      )
    const grown = partitions.find(({ index, partitions: count }) => count > 0 && index >= count)
    if (grown !== undefined)
      this.#reports.warnOnce(
        'partitions-grown',
        `"${grown.topic}" has more partitions than when group "${group}" began (${grown.partitions}): messages of one key from before and after that may be in two, and overtake each other`,
      )
  }

  recreated(partitions: readonly TopicPartition[]): void {
    for (const topic of new Set(partitions.map((each) => each.topic)))
      this.#reports.warnOnce(
        'topic-recreated',
        `topic "${topic}" was deleted and made again: what was not handled of it is gone, and the new one is read from its start`,
      )
  }

  foreign({ name }: Partition): void {
    this.#reports.warnOnce(
      'foreign-commit',
      `the commit of group "${this.#groupId}" for ${name} was not made by this version of Busbar, or was changed: only its offset counts, and what was finished beyond that is handled again`,
    )
  }

  /** Partitions were added to a topic that is read in strict order, or a pattern has found one that has several. */
  notStrict({ topic }: Partition): void {
    if (isDeadLetterTopic(topic)) return
    this.#reports.warnOnce(
      'strict-partitions',
      `"${topic}" has several partitions now, and group "${this.#groupId}" reads it with order: 'strict': there is order within each of them, and none between them`,
    )
  }

  recordCut({ name }: Partition): void {
    this.#reports.warnOnce(
      'record-cut',
      `what group "${this.#groupId}" has to remember of ${name} does not fit into its commit: should this process die now, messages that are finished may be handled again, and attempts that failed may count anew`,
    )
  }

  recordsTooLarge({ name }: Partition, maxCharacters: number): void {
    this.#reports.warnOnce(
      'record-budget',
      `the broker takes less text with a commit of ${name} than 4,096 characters (offset.metadata.max.bytes): ${maxCharacters} are used`,
    )
  }
}
