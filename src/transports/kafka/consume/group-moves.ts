import type { Timer } from '../../../core/clock.ts'
import type { KafkaContext } from '../context.ts'
import { isAuthorization } from '../errors.ts'
import { decodeRecord } from '../partitions/commit-record.ts'
import type { Partition } from '../partitions/partition.ts'

/** How often it is looked whether somebody has moved the group. */
const LOOK_MS = 1_000
/** The same where this client may not look there: somebody may have allowed it. */
const REFUSED_LOOK_MS = 300_000
/** How long one look may take. New partitions wait for it, and then are handed out anyway. */
const LOOK_TIMEOUT_MS = 2_000
/** What was committed there for a group says where it was moved to while it had members. */
const SUFFIX = '.busbar-moves'

/** Name of the group that has the moves of another one: offsets can only be set from outside where there are no members. */
export function movesGroup(groupId: string): string {
  return groupId + SUFFIX
}

/** True for the result of `movesGroup`. */
export function isMovesGroup(groupId: string): boolean {
  return groupId.endsWith(SUFFIX)
}

/** Somebody has moved the group in one partition. */
export interface Move {
  readonly offset: number
  /** Increases with each move. */
  readonly id: number
}

export interface GroupMovesOptions {
  readonly context: KafkaContext
  readonly groupId: string
  /** All moves of these that there were when they came to us are carried out. */
  readonly checked: (partitions: readonly Partition[]) => void
  readonly moved: (partition: Partition, move: Move) => void
}

/** Looks whether a group that is being read was moved: with a new partition before anything is handed out, then every second. */
export class GroupMoves {
  readonly #options: GroupMovesOptions
  /** Those that are ours. */
  readonly #partitions = new Set<Partition>()
  #isLooking = false
  #lookMs = LOOK_MS
  #mustLookAgain = false
  #timer: Timer | undefined
  #isClosed = false

  constructor(options: GroupMovesOptions) {
    this.#options = options
  }

  /** A partition has come to us. */
  check(partition: Partition): void {
    this.#partitions.add(partition)
    this.#timer?.cancel()
    this.#timer = undefined
    this.#mustLookAgain = true
    void this.#look()
  }

  close(): void {
    this.#isClosed = true
    this.#timer?.cancel()
  }

  async #look(): Promise<void> {
    if (this.#isLooking) return
    this.#isLooking = true
    while (this.#mustLookAgain && !this.#isClosed) {
      // What else comes in this turn is looked at together.
      await Promise.resolve()
      this.#mustLookAgain = false
      for (const partition of this.#partitions) if (!partition.mine) this.#partitions.delete(partition)
      await this.#lookOnce([...this.#partitions])
    }
    this.#isLooking = false
    if (this.#isClosed || this.#partitions.size === 0) return
    this.#timer = this.#options.context.host.clock.setTimer(this.#lookMs, () => {
      this.#timer = undefined
      this.#mustLookAgain = true
      void this.#look()
    })
  }

  async #lookOnce(partitions: readonly Partition[]): Promise<void> {
    if (partitions.length === 0) return
    const { context, groupId, checked, moved } = this.#options
    try {
      const admin = context.client.admin({ timeoutMs: LOOK_TIMEOUT_MS })
      const moves = await admin.offsets.list(movesGroup(groupId))
      if (this.#isClosed) return
      this.#lookMs = LOOK_MS
      const byName = new Map(moves.map((move) => [`${move.topic}/${move.partition}`, move]))
      for (const partition of partitions) {
        const found = byName.get(partition.name)
        const move = found === undefined ? undefined : decodeRecord(found.metadata, found.offset)
        if (move === undefined || move.moved <= partition.moved || !partition.mine) continue
        // Of a former topic of that name.
        if (move.topic !== 0 && partition.topicHash !== 0 && move.topic !== partition.topicHash) continue
        moved(partition, { offset: move.floor, id: move.moved })
      }
    } catch (error) {
      if (this.#isClosed) return
      this.#failed(error)
    }
    // What could not be seen now is carried out when it can.
    checked(partitions.filter(({ mine, isChecked }) => mine && !isChecked))
  }

  #failed(error: unknown): void {
    const { context, groupId } = this.#options
    if (!isAuthorization(error)) {
      context.reports.error(error, `looking whether group "${groupId}" was moved`)
      return
    }
    this.#lookMs = REFUSED_LOOK_MS
    context.reports.warnOnce(
      'moves-not-readable',
      `group "${groupId}" can't be moved while it is running: an ACL must allow Describe on the group "${movesGroup(groupId)}"`,
    )
  }
}
