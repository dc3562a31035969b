import type { Clock, Timer } from '../clock.ts'
import type { Claimed, Partition } from './group-driver.ts'
import { keyOf, partitionKey } from './partition-key.ts'

/** What the reader of the partitions does; an adapter implements it. None of these calls may throw, except `revoke`. */
export interface HoldingsHost<Position> {
  /** The partition is held from now on: start reading it. */
  acquired(claimed: Claimed<Position>): void
  /**
   * Stop taking messages of it, let running handlers finish, put everything else back. Resolves with the position from
   * which the next holder continues, undefined for the last committed one. After the time limit for a handover the
   * partition is `lost` instead, and the result of this call is ignored.
   */
  revoke(partition: Partition): Promise<Position | undefined>
  /** It is no longer held: drop what is here of it, and settle nothing. Final for this ownership. */
  lost(partition: Partition, reason: string): void
  /** Something failed and is tried again. */
  failed(error: unknown, doing: string): void
}

/** The end of an ownership, as its member reports it to the group. */
export interface Released<Position> extends Partition {
  readonly generation: number
  readonly position: Position | undefined
  readonly isUnclean: boolean
}

/** One ownership, from the claim on. A partition that comes back is another one. */
interface Holding {
  readonly topic: string
  readonly partition: number
  readonly generation: number
  revoking: boolean
  /** Ends the wait of `revoke`. */
  giveUp: (() => void) | undefined
}

/**
 * The partitions that one member holds: assigned → held → revoking → released | lost. Knows nothing about who decides: a
 * group of members (`PartitionHolder`), or a coordinator (Kafka). Each ownership ends exactly once, by `lost` or by the
 * release that `revoke` returns; whatever comes later belongs to no ownership and is ignored.
 */
export class Holdings<Position> {
  readonly #host: HoldingsHost<Position>
  readonly #clock: Clock
  readonly #held = new Map<string, Holding>()

  constructor(host: HoldingsHost<Position>, clock: Clock) {
    this.#host = host
    this.#clock = clock
  }

  get size(): number {
    return this.#held.size
  }

  /** Everything that is held, with what is being revoked. */
  get partitions(): readonly Partition[] {
    return [...this.#held.values()]
  }

  has(topic: string, partition: number): boolean {
    return this.#held.has(partitionKey(topic, partition))
  }

  /** Held, and its messages may be started. */
  isActive(topic: string, partition: number): boolean {
    return this.#held.get(partitionKey(topic, partition))?.revoking === false
  }

  /** Undefined when it is not held. */
  generationOf(topic: string, partition: number): number | undefined {
    return this.#held.get(partitionKey(topic, partition))?.generation
  }

  take(claimed: Claimed<Position>): void {
    const { topic, partition, generation } = claimed
    const key = keyOf(claimed)
    if (this.#held.has(key)) throw new Error(`Partition ${key} was taken twice without being lost or released between.`)
    this.#held.set(key, { topic, partition, generation, revoking: false, giveUp: undefined })
    this.#host.acquired(claimed)
  }

  /**
   * Ends the ownership in order: `revoke` of the host, within `withinMs`. Resolves with what to release; undefined when the
   * partition was lost meanwhile, is not held, or is being revoked already.
   */
  async revoke({ topic, partition }: Partition, withinMs: number): Promise<Released<Position> | undefined> {
    const key = partitionKey(topic, partition)
    const holding = this.#held.get(key)
    if (holding === undefined || holding.revoking) return undefined
    holding.revoking = true
    const isOver = (): boolean => this.#held.get(key) !== holding
    const { generation } = holding
    let position: Position | undefined
    let problem: string | undefined
    let deadline: Timer | undefined
    const waited = new Promise<'late'>((resolve) => {
      holding.giveUp = () => resolve('late')
      if (withinMs < Infinity) deadline = this.#clock.setTimer(withinMs, () => resolve('late'))
    })
    // When it comes too late its result is ignored, but an error is still reported.
    const work = this.#revoked(holding)
    const end = await Promise.race([work, waited])
    deadline?.cancel()
    if (isOver()) return undefined
    if (end === 'late') problem = 'the partition was handed over before its messages were handled'
    else if (end === 'failed') problem = 'it could not be handed over in order'
    else position = end.position
    this.#held.delete(key)
    if (problem !== undefined) this.#host.lost({ topic, partition }, problem)
    return { topic, partition, generation, position, isUnclean: problem !== undefined }
  }

  async #revoked({ topic, partition }: Holding): Promise<{ position: Position | undefined } | 'failed'> {
    try {
      return { position: await this.#host.revoke({ topic, partition }) }
    } catch (error) {
      this.#host.failed(error, `handing over partition ${partitionKey(topic, partition)}`)
      return 'failed'
    }
  }

  /** Ends the ownership at once. */
  lose({ topic, partition }: Partition, reason: string): void {
    const key = partitionKey(topic, partition)
    const holding = this.#held.get(key)
    if (holding === undefined) return
    this.#held.delete(key)
    holding.giveUp?.()
    this.#host.lost({ topic, partition }, reason)
  }

  loseAll(reason: string): readonly Partition[] {
    const all = this.partitions
    for (const holding of all) this.lose(holding, reason)
    return all
  }
}
