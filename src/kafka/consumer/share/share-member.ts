import { backoffMs } from '../../cluster/backoff.ts'
import { errorFromBroker } from '../../errors.ts'
import type { KafkaError } from '../../errors.ts'
import { CODE } from '../group-errors.ts'
import { PartitionSet } from '../partition-set.ts'

export interface ShareHeartbeat {
  /** 0 to join. */
  readonly memberEpoch: number
  /** Whether the topics go with it. */
  readonly subscribes: boolean
}

export interface ShareAnswer {
  readonly errorCode: number
  readonly errorMessage: string | null
  readonly memberEpoch: number
  readonly heartbeatIntervalMs: number
  /** By topic id; undefined if unchanged. */
  readonly assignment: PartitionSet | undefined
}

export interface ShareEffects {
  /** Answered by `answered` or `failed`, with the same object. */
  send(request: ShareHeartbeat): void
  /** What to read from now on. Others may read the same partitions: nothing has to be handed over. */
  assigned(partitions: PartitionSet): void
  fatal(error: KafkaError): void
}

/** A member of a share group (KIP-932). Pure. */
export class ShareMember {
  readonly #groupId: string
  readonly #effects: ShareEffects
  readonly #random: () => number
  #epoch = 0
  #inFlight: ShareHeartbeat | undefined
  #mustSubscribe = true
  #intervalMs = 3_000
  #heartbeatAt = Infinity
  #failures = 0
  #isClosed = false

  constructor(groupId: string, effects: ShareEffects, random: () => number) {
    this.#groupId = groupId
    this.#effects = effects
    this.#random = random
  }

  get wakeAt(): number {
    return this.#inFlight === undefined && !this.#isClosed ? this.#heartbeatAt : Infinity
  }

  start(now: number): void {
    this.#send(now)
  }

  tick(now: number): void {
    if (now >= this.wakeAt) this.#send(now)
  }

  subscriptionChanged(now: number): void {
    this.#mustSubscribe = true
    if (this.#inFlight === undefined && !this.#isClosed) this.#send(now)
  }

  answered(request: ShareHeartbeat, answer: ShareAnswer, now: number): void {
    if (this.#inFlight !== request || this.#isClosed) return
    this.#inFlight = undefined
    if (answer.errorCode !== CODE.none) return this.#refused(answer, now)
    this.#failures = 0
    this.#epoch = answer.memberEpoch
    this.#intervalMs = answer.heartbeatIntervalMs
    this.#heartbeatAt = now + this.#intervalMs
    if (answer.assignment !== undefined) this.#effects.assigned(answer.assignment)
  }

  failed(request: ShareHeartbeat, error: KafkaError, now: number): void {
    if (this.#inFlight !== request || this.#isClosed) return
    this.#inFlight = undefined
    this.#mustSubscribe = true
    if (error.retriable) this.#later(now)
    else this.#end(error)
  }

  /** Ends the member. False if the coordinator has nothing to forget. */
  leave(): boolean {
    const isMember = this.#epoch > 0 && !this.#isClosed
    this.#isClosed = true
    return isMember
  }

  #refused({ errorCode, errorMessage }: ShareAnswer, now: number): void {
    const error = errorFromBroker(errorCode, `ShareGroupHeartbeat of group ${this.#groupId}`, errorMessage)
    if (error.action === 'rejoin') {
      this.#epoch = 0
      this.#mustSubscribe = true
      this.#effects.assigned(new PartitionSet())
      return this.#later(now)
    }
    if (error.retriable) this.#later(now)
    else this.#end(error)
  }

  #later(now: number): void {
    this.#heartbeatAt = now + backoffMs(++this.#failures, this.#random())
  }

  #send(now: number): void {
    const request = { memberEpoch: this.#epoch, subscribes: this.#mustSubscribe || this.#epoch === 0 }
    this.#mustSubscribe = false
    this.#heartbeatAt = now + this.#intervalMs
    this.#inFlight = request
    this.#effects.send(request)
  }

  #end(error: KafkaError): void {
    this.#isClosed = true
    this.#effects.fatal(error)
  }
}
