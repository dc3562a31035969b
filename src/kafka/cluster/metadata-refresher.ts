import { KafkaError } from '../errors.ts'
import type { MetadataRequest, MetadataResponse } from '../protocol/generated/api-types.ts'
import { closedError } from './cluster-errors.ts'
import type { ClusterSettings } from './cluster-options.ts'
import { UNKNOWN_TOPIC } from './metadata.ts'
import type { Metadata, MetadataChange } from './metadata.ts'
import { RefreshSchedule } from './refresh-schedule.ts'

export interface MetadataRefresherOptions {
  readonly settings: ClusterSettings
  readonly metadata: Metadata
  readonly ask: (body: MetadataRequest, fromBootstrap: boolean) => Promise<MetadataResponse>
  /** After each answer. */
  readonly onAnswer: (changes: readonly MetadataChange[]) => void
  /** After each attempt that got none. */
  readonly onFailure: (error: KafkaError) => void
}

type Waiter = PromiseWithResolvers<void>

/** A topic in use that does not exist is looked for again after this time. */
const MISSING_TOPIC_MS = 2_000

/** Topics in use: their metadata is kept, and read again when it may be outdated. */
export interface TrackedTopics {
  add(topic: string): void
  remove(topic: string): void
  /** Removes all. */
  release(): void
}

/** Reads the metadata of the topics that are in use: at once when asked to, again when it is too old, and until it succeeds. */
export class MetadataRefresher {
  readonly #options: MetadataRefresherOptions
  readonly #schedule: RefreshSchedule
  readonly #uses = new Map<string, number>()
  /** Topics that are kept for a while, and what ends it. */
  readonly #kept = new Map<string, () => void>()
  #usesOfAll = 0
  #waiting: Waiter[] = []
  #cancelTimer: (() => void) | undefined
  #isStarted = false
  #isClosed = false
  #mustBootstrap = false
  #failure: KafkaError | undefined

  constructor(options: MetadataRefresherOptions) {
    const { clock, metadataMaxAgeMs, bootstrapAfterMs, backoff } = options.settings
    this.#options = options
    this.#schedule = new RefreshSchedule(clock.now(), {
      maxAgeMs: metadataMaxAgeMs,
      bootstrapAfterMs,
      backoff,
    })
  }

  /** Why no broker has answered; undefined once one has. */
  get failure(): KafkaError | undefined {
    return this.#failure
  }

  /** Asked for by its name. */
  isUsed(topic: string): boolean {
    return this.#uses.has(topic)
  }

  /** Something may be outdated. */
  want(): void {
    this.#schedule.want()
    this.#isStarted = true
    this.#arm()
  }

  /** Resolves with the next answer that is asked for after this call; rejects if no broker gives one. The attempts go on then. */
  refresh(): Promise<void> {
    if (this.#isClosed) return Promise.reject(closedError())
    const waiter = Promise.withResolvers<void>()
    this.#waiting.push(waiter)
    this.want()
    return waiter.promise
  }

  track(): TrackedTopics {
    const mine = new Set<string>()
    const remove = (topic: string): void => {
      if (mine.delete(topic)) this.#release(topic)
    }
    return {
      add: (topic) => {
        if (mine.has(topic)) return
        mine.add(topic)
        this.#use(topic)
      },
      remove,
      release: () => mine.forEach(remove),
    }
  }

  /** Keeps the metadata of a topic for so long, from the last call on. */
  keep(topic: string, ms: number): void {
    if (this.#isClosed) return
    const endBefore = this.#kept.get(topic)
    if (endBefore === undefined) this.#use(topic)
    else endBefore()
    const end = (): void => {
      this.#kept.delete(topic)
      this.#release(topic)
    }
    this.#kept.set(topic, this.#options.settings.clock.setTimer(end, ms))
  }

  /** Keeps all topics of the cluster, until the result is called. */
  trackAll(): () => void {
    this.#usesOfAll++
    this.want()
    let isDone = false
    return () => {
      if (isDone) return
      isDone = true
      this.#usesOfAll--
      const { metadata } = this.#options
      if (this.#usesOfAll > 0) return
      for (const { name } of metadata.topics()) if (!this.#uses.has(name)) metadata.forget(name)
    }
  }

  close(): void {
    this.#isClosed = true
    this.#cancelTimer?.()
    for (const cancel of this.#kept.values()) cancel()
    for (const { reject } of this.#waiting.splice(0)) reject(closedError())
  }

  #use(topic: string): void {
    this.#uses.set(topic, (this.#uses.get(topic) ?? 0) + 1)
    if (this.#options.metadata.topic(topic) === undefined) this.want()
  }

  #release(topic: string): void {
    const left = (this.#uses.get(topic) ?? 1) - 1
    if (left > 0) return void this.#uses.set(topic, left)
    this.#uses.delete(topic)
    if (this.#usesOfAll === 0) this.#options.metadata.forget(topic)
  }

  #arm(): void {
    const { clock } = this.#options.settings
    this.#cancelTimer?.()
    this.#cancelTimer = undefined
    const { dueAt } = this.#schedule
    if (!this.#isStarted || this.#isClosed || dueAt === Infinity) return
    this.#cancelTimer = clock.setTimer(() => void this.#run(), Math.max(0, dueAt - clock.now()))
  }

  async #run(): Promise<void> {
    const { settings, metadata, ask, onAnswer, onFailure } = this.#options
    const { clock, random } = settings
    const start = clock.now()
    const fromBootstrap = this.#mustBootstrap || this.#schedule.mustBootstrap(start)
    if (fromBootstrap) this.#schedule.bootstrapped(start)
    this.#mustBootstrap = false
    const isWhole = this.#schedule.started(start)
    const isComplete = isWhole && this.#usesOfAll > 0
    // Nobody waits for what is missing only: a call of `refresh` wants everything.
    const waiting = this.#waiting.splice(0)
    let failure: unknown
    try {
      const response = await ask(
        this.#body(isWhole ? [...this.#uses.keys()] : this.#missing(), isComplete),
        fromBootstrap,
      )
      this.#schedule.succeeded(clock.now())
      this.#failure = undefined
      if (!this.#isClosed) onAnswer(metadata.apply(this.#withoutUnused(response), isComplete))
      if (this.#missing().length > 0) this.#schedule.lookAt(clock.now() + MISSING_TOPIC_MS)
    } catch (error) {
      failure = error
      if (error instanceof KafkaError && !this.#isClosed) {
        this.#failure = error
        onFailure(error)
      }
      this.#mustBootstrap = error instanceof KafkaError && error.code === 'REBOOTSTRAP_REQUIRED'
      this.#schedule.failed(clock.now(), random())
    }
    this.#arm()
    for (const { resolve, reject } of waiting) {
      if (failure === undefined) resolve()
      else reject(failure)
    }
  }

  /** An answer with all topics says nothing at all about one that does not exist. */
  #missing(): readonly string[] {
    const { metadata } = this.#options
    return [...this.#uses.keys()].filter((name) => (metadata.topic(name)?.errorCode ?? UNKNOWN_TOPIC) === UNKNOWN_TOPIC)
  }

  #body(names: readonly string[], isComplete: boolean): MetadataRequest {
    const { autoCreateTopics } = this.#options.settings
    return { topics: isComplete ? null : names.map((name) => ({ name })), allowAutoTopicCreation: autoCreateTopics }
  }

  /** Topics that were released meanwhile stay forgotten. */
  #withoutUnused(response: MetadataResponse): MetadataResponse {
    if (this.#usesOfAll > 0) return response
    return { ...response, topics: response.topics.filter(({ name }) => name !== null && this.#uses.has(name)) }
  }
}
