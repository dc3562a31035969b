import { sleep } from '../../../core/clock.ts'
import type { Timer } from '../../../core/clock.ts'
import { ConfigurationError } from '../../../core/errors.ts'
import { growingDelay, halfRandom } from '../../../core/util/backoff.ts'
import { KafkaError } from '../../../kafka/index.ts'
import type { Consumer, ConsumerBatch } from '../../../kafka/index.ts'
import type { KafkaContext } from '../context.ts'
import type { GroupPartitions } from './group-partitions.ts'

/** Pause before a partition that could not be read is tried again. */
const RESUME_MS = 1_000
/** Time to leave the group for one that is replaced: it has nothing to hand over. */
const LEAVE_MS = 2_000
/** Pauses before a consumer that has ended is replaced. */
const AGAIN = { minMs: 500, maxMs: 30_000 }

export interface GroupConsumerOptions {
  readonly context: KafkaContext
  /** At the broker; undefined for a broadcast, which reads alone and commits nothing. */
  readonly groupId: string | undefined
  readonly partitions: GroupPartitions
  /** What is to be read now; nothing: no consumer is made. */
  readonly topics: () => readonly (string | RegExp)[]
  /** Nothing is read any more. */
  readonly closing: AbortSignal
}

/** The consumer of the client that reads for a group: one that has ended is replaced, and what could not be read is tried again. */
export class GroupConsumer {
  readonly #context: KafkaContext
  readonly #groupId: string | undefined
  readonly #partitions: GroupPartitions
  readonly #topics: GroupConsumerOptions['topics']
  readonly #closing: AbortSignal
  #current: Consumer | undefined
  #resuming: Timer | undefined
  #failures = 0
  /** Why nothing comes. */
  #trouble: string | undefined
  /** The last that could not be read, when, and whether that was not the first time. */
  #failed: { readonly text: string; readonly at: number; readonly isRepeated: boolean } | undefined
  /** Why it does not come back: another process would have to go for it, and would come back in turn. */
  stopped: ConfigurationError | undefined

  constructor({ context, groupId, partitions, topics, closing }: GroupConsumerOptions) {
    this.#context = context
    this.#groupId = groupId
    this.#partitions = partitions
    this.#topics = topics
    this.#closing = closing
  }

  /** Why nothing comes, or why something does not. */
  get trouble(): string | undefined {
    if (this.#trouble !== undefined || this.#failed?.isRepeated !== true) return this.#trouble
    return this.#isRecent(this.#failed.at) ? `a part of it can't be read: ${this.#failed.text}` : undefined
  }

  /** What could not be read is tried again each second. */
  #isRecent(at: number): boolean {
    return this.#context.host.clock.monotonic() - at < 3 * RESUME_MS
  }

  get current(): Consumer | undefined {
    return this.#current
  }

  /** What is to be read has changed. */
  subscribe(): void {
    if (this.#closing.aborted || this.stopped !== undefined) return
    const topics = this.#topics()
    if (topics.length === 0) return
    if (this.#current === undefined) this.#start(topics)
    else this.#current.subscribe(topics)
  }

  /** The group knows this member, and has told it what it has. */
  get isMember(): boolean {
    if (this.#groupId === undefined) return (this.#current?.assignment.length ?? 0) > 0
    try {
      return this.#current?.groupMetadata() !== undefined
    } catch (error) {
      if (error instanceof KafkaError) return false
      throw error
    }
  }

  /** Only the group knows what was committed: this member comes back, and reads that. */
  async doubt(error: unknown): Promise<void> {
    this.#context.reports.error(error, `committing a transaction of group "${this.#groupId ?? ''}"`)
    if (this.#current !== undefined) await this.#replace(this.#current, error)
  }

  /** Hands over what it has, and leaves the group. */
  async close(deadlineMs: number): Promise<void> {
    this.#resuming?.cancel()
    await this.#current?.close({ deadlineMs }).catch((error: unknown) => {
      this.#context.reports.error(error, 'leaving a group')
    })
  }

  #start(topics: readonly (string | RegExp)[]): void {
    const { client, options } = this.#context
    const startAt: GroupPartitions['startAt'] = (place, committed) => this.#partitions.startAt(place, committed)
    const consumer =
      this.#groupId === undefined
        ? client.consumer({ ...options.reader, topics, startAt })
        : client.consumer({ ...options.consumer, topics, group: this.#groupId, startAt })
    this.#current = consumer
    consumer.on('assigned', () => (this.#trouble = undefined))
    this.#partitions.follow(consumer)
    void this.#read(consumer)
  }

  async #read(consumer: Consumer): Promise<void> {
    let last: unknown
    for (;;) {
      try {
        const { value: batch } = await consumer.next()
        if (batch === undefined) return
        last = undefined
        this.#failures = 0
        this.#trouble = undefined
        this.#arrived(batch)
      } catch (error) {
        if (this.#closing.aborted || this.#current !== consumer) return
        if (error instanceof KafkaError && error.code === 'FENCED_INSTANCE_ID') return void this.#stop(consumer, error)
        // One that has ended says so again and again.
        if (error === last) return void this.#replace(consumer, error)
        last = error
        this.#couldNotRead(error)
      }
    }
  }

  #arrived(batch: ConsumerBatch): void {
    // Reading has gone elsewhere since it was delivered.
    if (batch.isLost) return
    // It counts by itself.
    batch.done()
    this.#partitions.arrived(batch)
  }

  /** A partition can't be read, or something could not be committed: the others go on. */
  #couldNotRead(error: unknown): void {
    const at = this.#context.host.clock.monotonic()
    const isRepeated = this.#failed !== undefined && this.#isRecent(this.#failed.at)
    this.#failed = { text: error instanceof Error ? error.message : String(error), at, isRepeated }
    this.#context.reports.error(error, `reading for group "${this.#groupId ?? 'of a broadcast'}"`)
    this.#resuming ??= this.#context.host.clock.setTimer(RESUME_MS, () => {
      this.#resuming = undefined
      const consumer = this.#current
      consumer?.resume(consumer.assignment.filter((place) => !this.#partitions.isResting(place)))
    })
  }

  /** Another one takes its place, after a pause: what kept it from being a member may have passed. */
  async #replace(consumer: Consumer, error: unknown): Promise<void> {
    const { clock } = this.#context.host
    this.#trouble = `its group can't be read: ${error instanceof Error ? error.message : String(error)}`
    await this.#dismiss(consumer)
    const pauseMs = halfRandom(growingDelay(AGAIN, this.#failures++))
    await sleep(clock, pauseMs, this.#closing).catch(() => {})
    this.subscribe()
  }

  /** Another process has joined as this one. Coming back would throw that one out, which would come back in turn. */
  async #stop(consumer: Consumer, error: KafkaError): Promise<void> {
    const { options, reports } = this.#context
    const problem = `another process has joined group "${this.#groupId ?? ''}" with the same instanceId, "${options.consumer.instanceId ?? ''}"`
    this.stopped = new ConfigurationError(
      'kafka()',
      [{ path: 'instanceId', message: `must be different in each process: ${problem}, so this one no longer reads` }],
      { cause: error },
    )
    this.#trouble = this.stopped.message
    reports.error(this.stopped, `reading for group "${this.#groupId ?? ''}"`)
    await this.#dismiss(consumer)
  }

  async #dismiss(consumer: Consumer): Promise<void> {
    this.#partitions.loseAll('its consumer has ended')
    // One that does not leave keeps its partitions for the length of a session: the next one would wait for them.
    await consumer.close({ deadlineMs: LEAVE_MS }).catch(() => {})
    if (this.#current === consumer) this.#current = undefined
  }
}
