import type { GroupMachine, MemberEffects } from '../../../../../src/kafka/consumer/group-machine.ts'
import { CommitPipeline } from '../../../../../src/kafka/consumer/offsets/commit-pipeline.ts'
import type { CommitRequest } from '../../../../../src/kafka/consumer/offsets/commit-pipeline.ts'
import { FinishedPrefix } from '../../../../../src/kafka/consumer/offsets/finished-prefix.ts'
import type { HandedOut } from '../../../../../src/kafka/consumer/offsets/finished-prefix.ts'
import type { PartitionSet } from '../../../../../src/kafka/consumer/partition-set.ts'
import { Checks } from './checks.ts'
import type { ModelSpan } from './checks.ts'
import type { Channel, World } from './world.ts'

interface Span extends ModelSpan {
  prefix: FinishedPrefix | undefined
  position: number
  readonly running: Set<HandedOut>
  takesIn: boolean
  isOver: boolean
}

export interface ModelGroup {
  readonly world: World
  readonly checks: Checks
  readonly committed: ReadonlyMap<string, number>
  /** Longest that handlers may take. */
  readonly maxWorkMs: number
}

const REVOKE_BOUND_MS = 20_000

/** A process with one member of the group: works on records, commits what is finished, may freeze and die. */
export abstract class WorkingMember {
  readonly name: string
  readonly group: ModelGroup
  readonly commits: CommitPipeline
  /** Commits and heartbeats share a connection. */
  readonly channel: Channel = { lastAt: 0 }
  readonly #spans = new Map<string, Span>()
  readonly #queue: (() => void)[] = []
  #isFrozen = false
  #isDead = false
  #wakeAt = Infinity
  ended: string | undefined
  isClosing = false

  constructor(name: string, group: ModelGroup) {
    this.name = name
    this.group = group
    this.commits = new CommitPipeline(
      'g',
      {
        send: (request) => this.sendCommit(request),
        identityRefused: (code, identity) => this.machine.identityRefused(code, identity, this.group.world.now),
        refused: (span, error) => this.group.checks.violated(`a commit of ${span.topic} was refused: ${error.message}`),
      },
      () => group.world.random.next(),
    )
  }

  abstract readonly machine: GroupMachine<unknown>
  abstract get memberId(): string
  protected abstract sendCommit(request: CommitRequest): void
  protected abstract leave(): void

  /** Its clock runs. */
  get isRunning(): boolean {
    return !this.#isDead && !this.#isFrozen
  }

  get isAlive(): boolean {
    return !this.#isDead && this.ended === undefined
  }

  start(): void {
    this.enter(() => this.machine.start(this.group.world.now))
    this.#workSoon()
  }

  /** Everything that happens to the process goes through here. */
  enter(run: () => void): void {
    if (this.#isDead) return
    if (this.#isFrozen) {
      this.#queue.push(run)
      return
    }
    const { now } = this.group.world
    this.machine.tick(now)
    run()
    this.commits.useIdentity(this.machine.identity, now)
    const wakeAt = Math.min(this.machine.wakeAt, this.commits.wakeAt)
    if (wakeAt < this.#wakeAt && wakeAt < Infinity) {
      this.#wakeAt = wakeAt
      this.group.world.after(Math.max(0, wakeAt - now), () => {
        this.#wakeAt = Infinity
        this.enter(() => this.commits.flush(this.group.world.now))
      })
    }
  }

  freeze(ms: number): void {
    if (!this.isRunning) return
    this.#isFrozen = true
    this.group.world.after(ms, () => {
      this.#isFrozen = false
      for (const run of this.#queue.splice(0)) this.enter(run)
      this.enter(() => {})
    })
  }

  kill(): void {
    this.#isDead = true
    for (const span of this.#spans.values()) this.group.checks.ends(span)
  }

  /** Finishes, commits, leaves. */
  close(): void {
    if (this.isClosing) return
    this.isClosing = true
    this.enter(() => {
      this.machine.close()
      this.#finish([...this.#spans.values()], () => {
        this.leave()
        this.#isDead = true
      })
    })
  }

  protected effects(): Omit<MemberEffects<unknown>, 'send' | 'abandon'> {
    return {
      assigned: (partitions) => this.#assigned(partitions),
      revoke: (partitions) => {
        const spans = [...partitions]
          .map((each) => this.#spans.get(Checks.key(each)))
          .filter((span) => span !== undefined)
        this.#finish(spans, () => this.machine.released(partitions, this.group.world.now))
      },
      lost: (partitions) => {
        for (const each of partitions) this.#end(this.#spans.get(Checks.key(each)))
      },
      fatal: (error) => (this.ended = error.code),
    }
  }

  #assigned(partitions: PartitionSet): void {
    for (const { topic, partition } of partitions) {
      const span: Span = {
        topic,
        partition,
        member: this,
        prefix: undefined,
        position: 0,
        running: new Set(),
        takesIn: true,
        isOver: false,
      }
      this.group.checks.begins(span)
      this.#spans.set(Checks.key(span), span)
      this.commits.begin(span)
      this.group.world.after(this.group.world.random.integer(1, 20), () => this.enter(() => this.#read(span)))
    }
  }

  /** The answer to OffsetFetch. */
  #read(span: Span): void {
    if (span.isOver) return
    span.position = this.group.committed.get(Checks.key(span)) ?? 0
    span.prefix = new FinishedPrefix(span.position, -1)
  }

  #workSoon(): void {
    if (this.#isDead) return
    const { world } = this.group
    world.after(world.random.integer(100, 700), () => {
      this.enter(() => this.#work())
      this.#workSoon()
    })
  }

  #work(): void {
    const { world, checks, maxWorkMs } = this.group
    for (const span of this.#spans.values()) {
      if (!span.takesIn || span.prefix === undefined || span.running.size >= 5) continue
      const offset = span.position++
      checks.works(span)
      const batch: HandedOut = { count: 1, offsetAt: () => offset, nextOffset: offset + 1, leaderEpoch: 1 }
      span.prefix.handOut(batch)
      span.running.add(batch)
      const time = world.random.chance(0.05) ? world.random.integer(0, maxWorkMs) : world.random.integer(0, 200)
      world.after(time, () => this.enter(() => this.#done(span, batch)))
    }
  }

  #done(span: Span, batch: HandedOut): void {
    this.group.checks.finished(span, batch.nextOffset - 1)
    span.running.delete(batch)
    if (span.isOver) return
    if (span.prefix?.finish(batch) === true && this.group.world.random.chance(0.5)) this.#commit(span)
  }

  #commit(span: Span): void {
    if (span.prefix === undefined) return
    this.commits.want(span, { offset: span.prefix.floor, leaderEpoch: 1, metadata: '' })
    this.commits.flush(this.group.world.now)
  }

  /** Intake off, what runs ends within the bound, commit, release. */
  #finish(spans: readonly Span[], done: () => void): void {
    const { world } = this.group
    const deadline = world.now + REVOKE_BOUND_MS
    for (const span of spans) span.takesIn = false
    const look = (): void => {
      const isLate = world.now >= deadline
      if (!isLate && spans.some((span) => !span.isOver && span.running.size > 0)) {
        return world.after(50, () => this.enter(look))
      }
      let left = spans.length
      let isDone = false
      const ended = () => {
        if (isDone) return
        isDone = true
        for (const span of spans) this.#end(span)
        done()
      }
      const committed = () => --left === 0 && ended()
      world.after(Math.max(0, deadline - world.now), () => this.enter(ended))
      if (spans.length === 0) return ended()
      for (const span of spans) {
        this.#commit(span)
        this.commits.whenCommitted(span, () => this.enter(committed))
      }
    }
    look()
  }

  #end(span: Span | undefined): void {
    if (span === undefined || span.isOver) return
    span.isOver = true
    span.takesIn = false
    this.#spans.delete(Checks.key(span))
    this.commits.end(span)
    this.group.checks.ends(span)
  }
}
