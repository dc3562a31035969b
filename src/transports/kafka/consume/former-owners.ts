import type { Timer } from '../../../core/clock.ts'
import type { TopicPartition } from '../../../kafka/index.ts'
import { codeOf } from '../admin/error-code.ts'
import type { KafkaContext } from '../context.ts'
import { isAuthorization } from '../errors.ts'
import { decodeRecord } from '../partitions/commit-record.ts'

/** How long a partition may take to begin before it is looked at what its former owner has left. */
const FIRST_LOOK_MS = 500
const LOOK_MS = 1_000
/** An owner that is alive after all may begin another transaction, and die then. */
const REMEMBERED_MS = 10_000
/** A transaction in another state is being ended already. */
const OPEN = 'Ongoing'
const NO_TRANSACTION = new Set(['TRANSACTIONAL_ID_NOT_FOUND', 'UNSUPPORTED_API', 'UNSUPPORTED_VERSION'])

/**
 * Transactional id of a member: the owner is in its commit records, so whoever takes over its partitions finds its transaction. Brokers
 * remember an id for seven days after its last transaction (`transactional.id.expiration.ms`).
 */
export function transactionalIdOf(groupId: string, owner: string): string {
  return `${groupId}.busbar-${owner}`
}

export interface FormerOwnersOptions {
  readonly context: KafkaContext
  readonly groupId: string
  /** This member. */
  readonly owner: string
  /** It is given to this member, which doesn't know yet where it begins. */
  readonly isWaiting: (place: TopicPartition) => boolean
}

/**
 * Aborts what members that died have left open. Otherwise readers of committed messages wait behind it, and its offsets can't be
 * read, until the brokers' time limit for transactions has passed.
 */
export class FormerOwners {
  readonly #options: FormerOwnersOptions
  /** Owners of these last seconds: most have had several partitions. */
  readonly #ended = new Map<string, { readonly at: number; readonly ended: Promise<void> }>()
  #waiting: readonly TopicPartition[] = []
  #timer: Timer | undefined
  #isClosed = false

  constructor(options: FormerOwnersOptions) {
    this.#options = options
  }

  /** Resolves when that owner has no open transaction, as far as this member can tell or do something about it. Never rejects. */
  end(owner: string): Promise<void> {
    if (owner === '' || owner === this.#options.owner) return Promise.resolve()
    const now = this.#options.context.host.clock.monotonic()
    for (const [each, { at }] of this.#ended) if (now - at >= REMEMBERED_MS) this.#ended.delete(each)
    const before = this.#ended.get(owner)
    if (before !== undefined) return before.ended
    const ended = this.#abort(owner).catch((error: unknown) => {
      this.#ended.delete(owner)
      this.#failed(error)
    })
    this.#ended.set(owner, { at: now, ended })
    return ended
  }

  /**
   * The group has given these to this member. One whose offset is part of an open transaction can't begin, and only then is it known from
   * its record whose it was: so that is looked for among the offsets before.
   */
  given(places: readonly TopicPartition[]): void {
    this.#waiting = [...this.#waiting, ...places]
    this.#arm(FIRST_LOOK_MS)
  }

  close(): void {
    this.#isClosed = true
    this.#timer?.cancel()
  }

  #arm(delayMs: number): void {
    if (this.#isClosed) return
    this.#timer ??= this.#options.context.host.clock.setTimer(delayMs, () => {
      void this.#look().catch((error: unknown) => this.#failed(error))
    })
  }

  async #look(): Promise<void> {
    const { context, groupId, isWaiting } = this.#options
    const waiting = this.#waiting.filter(isWaiting)
    this.#waiting = []
    try {
      if (waiting.length === 0) return
      const committed = await context.client
        .admin()
        .offsets.list(groupId, { partitions: waiting, requireStable: false })
      const owners = committed
        .map(({ metadata, offset }) => decodeRecord(metadata, offset))
        .filter((record) => record?.free === false)
        .map((record) => record?.owner ?? '')
      await Promise.all([...new Set(owners)].map((owner) => this.end(owner)))
    } finally {
      this.#timer = undefined
      this.#waiting = [...this.#waiting, ...waiting.filter(isWaiting)]
      if (this.#waiting.length > 0) this.#arm(LOOK_MS)
    }
  }

  async #abort(owner: string): Promise<void> {
    const { transactions } = this.#options.context.client.admin()
    const id = transactionalIdOf(this.#options.groupId, owner)
    try {
      // To fence an id that never had a transaction would make brokers remember it.
      if ((await transactions.describe(id)).state === OPEN) await transactions.fence(id)
    } catch (error) {
      if (!NO_TRANSACTION.has(codeOf(error))) throw error
    }
  }

  #failed(error: unknown): void {
    const { context, groupId } = this.#options
    if (this.#isClosed) return
    if (isAuthorization(error))
      context.reports.warnOnce(
        'transactions-not-ended',
        `this client may not end transactions that members of group "${groupId}" have left open when they died: an ACL must allow Describe and Write on transactional ids that begin with "${groupId}.busbar-". Others wait for the brokers to do so (transactionTimeoutMs)`,
      )
    else context.reports.error(error, `ending transactions of former members of group "${groupId}"`)
  }
}
