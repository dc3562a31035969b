// Longer than most files: what shares a transaction, and what happens when that fails, is decided in one place.

import { concernsFile, primaryCode, SQLITE } from './database.ts'
import type { Member } from './members.ts'
import { ReplyQueue } from './reply-queue.ts'
import { machineTime } from './subscription-leases.ts'
import type { Command, Reply, WorkerSettings } from '../protocol.ts'
import { openStore } from './store.ts'
import type { SettleCommand } from './settling.ts'
import type { Store, StoreClock } from './store.ts'
import { Tasks } from './tasks.ts'
import type { Task } from './tasks.ts'
import { FileHealth } from './file-health.ts'
import { Tx } from './tx.ts'

/** About how many rows one transaction may touch; the rest waits for the next one. */
const MAX_WEIGHT = 10_000
/** Pause before trying again to give back what could not be given back, in ms. */
const GIVE_BACK_MS = 1_000

const SYSTEM_CLOCK: StoreClock = { now: () => Date.now(), machine: machineTime }

/**
 * The work of the database thread, in rounds: everything requested since the last round, and everything that can be
 * handed to waiting subscriptions, goes into one transaction. So there is one disk sync per round, however many
 * publishers there are.
 */
export class Engine {
  readonly #settings: WorkerSettings
  readonly #clock: StoreClock
  readonly #replies: ReplyQueue
  readonly #store: Store
  readonly #tasks: Tasks
  readonly #fileHealth: FileHealth
  readonly #onClosed: () => void
  #queue: Task[] = []
  #scheduled: NodeJS.Immediate | undefined
  #version: number
  #dueAt = Infinity
  #dueTimer: NodeJS.Timeout | undefined
  #pollTimer: NodeJS.Timeout | undefined
  #reapTimer: NodeJS.Timeout | undefined
  #heartbeat: NodeJS.Timeout | undefined
  #retentionTimer: NodeJS.Timeout | undefined
  #closing: number | undefined
  #closed = false
  /** The write-ahead log is too large and can't be shrunk, and this was reported. */
  #logIsHeld = false

  /** Opens the file. Throws SQLite's errors, or a `FileError`. */
  constructor(
    settings: WorkerSettings,
    post: (replies: readonly Reply[], transfer: ArrayBuffer[]) => void,
    onClosed: () => void,
    clock: StoreClock = SYSTEM_CLOCK,
  ) {
    this.#settings = settings
    this.#clock = clock
    this.#onClosed = onClosed
    this.#replies = new ReplyQueue(post)
    this.#fileHealth = new FileHealth(
      this.#replies,
      () => this.#schedule(),
      () => this.#examine(),
    )
    this.#store = openStore(settings, this.#replies, clock)
    this.#version = this.#store.db.dataVersion()
    this.#tasks = new Tasks({
      store: this.#store,
      replies: this.#replies,
      enqueue: (task) => this.#enqueue(task),
      giveBack: (member, command, indexes) => this.#giveBack(member, command, indexes),
    })
    this.#enqueue(this.#background('taking over', (tx) => this.#store.subscriptionLeases.reapPredecessor(tx)))
    this.#reap()
    this.#heartbeat = setInterval(() => this.#beat(), settings.options.leaseMs / 3)
    const { retention } = settings.options
    if (retention !== undefined) this.#retentionTimer = setInterval(() => this.#retain(), retention.checkIntervalMs)
  }

  push(commands: readonly Command[]): void {
    for (const command of commands) this.#take(command)
    this.#schedule()
  }

  #take(command: Command): void {
    const { members } = this.#store
    switch (command.kind) {
      case 'publish':
        return this.#enqueue(this.#tasks.publish(command))
      case 'settle':
        return this.#enqueue(this.#tasks.settle(command))
      case 'note':
        return this.#enqueue(this.#tasks.note(command))
      case 'credit': {
        members.get(command.sub)?.credit.add(command.count, command.bytes)
        return
      }
      case 'flow': {
        const member = members.get(command.sub)
        if (member !== undefined) member.paused = command.paused
        return
      }
      case 'drain': {
        const member = members.get(command.sub)
        if (member !== undefined) member.stopped = true
        this.#replies.add({ kind: 'done', call: command.call, value: undefined })
        return
      }
      case 'subscribe':
        return this.#enqueue(this.#tasks.subscribe(command))
      case 'unsubscribe':
        return this.#enqueue(this.#tasks.unsubscribe(command.call, command.sub))
      case 'admin':
        return this.#enqueue(this.#tasks.admin(command.call, command.request))
      case 'pong':
        return this.#enqueue(this.#background('renewing leases', (tx) => this.#renew(tx)))
      case 'close':
        this.#closing = command.call
        return
    }
  }

  #enqueue(task: Task): void {
    this.#queue.push(task)
    this.#schedule()
  }

  /** Runs a round after everything that arrived in this turn of the event loop. */
  #schedule(): void {
    if (this.#closed) return
    this.#scheduled ??= setImmediate(() => {
      this.#scheduled = undefined
      this.#round()
    })
  }

  // --- rounds ------------------------------------------------------------------------------------------------------

  #round(): void {
    this.#guard('looking for changes', () => this.#noticeOthers())
    this.#guard('looking for losses', () => this.#reportLosses())
    const tasks = this.#next()
    const claiming = this.#mayClaim()
    if (tasks.length > 0 || claiming) this.#work(tasks, claiming)
    this.#guard('looking for what is due', () => this.#armDue())
    this.#armPoll()
    if (this.#queue.length > 0 || this.#mayClaim()) this.#schedule()
    else if (this.#closing !== undefined) this.#close(this.#closing)
    this.#replies.flush()
  }

  #next(): Task[] {
    let weight = 0
    let count = 0
    while (count < this.#queue.length && weight < MAX_WEIGHT) weight += (this.#queue[count++] as Task).weight
    return this.#queue.splice(0, count)
  }

  #mayClaim(): boolean {
    if (this.#closing !== undefined || this.#fileHealth.paused) return false
    if (this.#dueAt <= this.#clock.now()) return true
    for (const member of this.#store.members.all()) {
      if (member.mayClaim) return true
    }
    return false
  }

  /** One transaction for all tasks; if it fails, one for each, so that none suffers for another. */
  #work(tasks: readonly Task[], claiming: boolean): void {
    try {
      this.#transaction(tasks, true)
      return
    } catch (error) {
      if (primaryCode(error) === SQLITE.busy || tasks.length === 0) {
        for (const task of tasks) task.fail(error)
        if (claiming) this.#fileHealth.failedInBackground(error, 'handing out messages', isDurable(tasks))
        else this.#fileHealth.failed(error, isDurable(tasks))
        return
      }
    }
    for (const task of tasks) this.#workAlone(task)
    if (claiming) this.#guard('handing out messages', () => this.#transaction([], true))
  }

  /** One transaction for a task; if it fails, one for each half of it, down to what can't be written. */
  #workAlone(task: Task): void {
    try {
      this.#transaction([task], false)
    } catch (error) {
      const halves = concernsFile(error) ? undefined : task.halves?.()
      if (halves === undefined) {
        task.fail(error)
        this.#fileHealth.failed(error, task.durable)
      } else for (const half of halves) this.#workAlone(half)
    }
  }

  #transaction(tasks: readonly Task[], claiming: boolean): void {
    const tx = new Tx(this.#clock.now())
    const durable = isDurable(tasks)
    try {
      this.#store.db.transaction(durable, () => {
        for (const task of tasks) task.run(tx)
        // Hands out at once what the tasks made ready or unblocked.
        if (claiming && this.#mayClaim()) this.#claim(tx)
        this.#store.claims.releaseRest(tx)
        this.#store.changes.write(tx)
      })
    } catch (error) {
      // Seats marked as looked at were not.
      this.#store.members.touchAll()
      throw error
    }
    this.#fileHealth.succeeded(durable)
    // It is committed: an error here must not cause the work to be done again.
    this.#guard('following up a transaction', () => tx.committed())
  }

  #claim(tx: Tx): void {
    const { claims, dueQueue, members, subscriptionLeases } = this.#store
    if (this.#dueAt <= tx.now) dueQueue.promote(tx)
    members.rotate()
    for (const member of members.all()) {
      if (!member.mayClaim) continue
      if (subscriptionLeases.alive(member.owner)) claims.claim(tx, member)
      else this.#tasks.revive(tx, member)
    }
  }

  /** Runs work that no caller waits for. */
  #guard(doing: string, work: () => void, durable = false): void {
    try {
      work()
    } catch (error) {
      this.#fileHealth.failedInBackground(error, doing, durable)
    }
  }

  // --- background work ---------------------------------------------------------------------------------------------

  #background(doing: string, run: (tx: Tx) => void): Task {
    return {
      durable: false,
      weight: 100,
      run,
      fail: (error) => this.#fileHealth.failedInBackground(error, doing, false),
    }
  }

  #giveBack(member: Member, command: SettleCommand, indexes: readonly number[]): void {
    if (indexes.length === 0) return
    const { settling } = this.#store
    for (const index of indexes) member.abandon(command.tokens[index] as number)
    const task: Task = {
      durable: false,
      weight: indexes.length,
      run: (tx) => settling.giveBackLeases(tx, member, command, indexes),
      fail: () => later(),
    }
    const later = (): void => {
      setTimeout(() => {
        if (!this.#closed) this.#enqueue(task)
      }, GIVE_BACK_MS).unref()
    }
    later()
  }

  // --- time and other processes ------------------------------------------------------------------------------------

  #noticeOthers(): void {
    const { db, topics, changes, losses, members, groups } = this.#store
    const version = db.dataVersion()
    if (version === this.#version) return
    topics.refresh()
    const changed = changes.look()
    for (const topicId of changed.topics) members.touchTopic(topicId)
    for (const groupId of changed.groups) {
      const at = members.group(groupId)
      if (at === undefined) continue
      const group = groups.get(groupId)
      if (group?.epoch === at.epoch) at.touch()
      else this.#replies.moved(at, group)
    }
    if (changed.any) losses.look()
    changes.seen(changed)
    this.#version = version
  }

  /** Only waiting subscriptions need to know what other processes publish. */
  #armPoll(): void {
    if (this.#closed || this.#store.members.size === 0) return
    this.#pollTimer ??= setTimeout(() => {
      this.#pollTimer = undefined
      let changed = false
      this.#guard('looking for changes', () => (changed = this.#store.db.dataVersion() !== this.#version))
      if (this.#store.claims.recheck() || changed) this.#schedule()
      else this.#armPoll()
      this.#replies.flush()
    }, this.#settings.options.pollIntervalMs)
  }

  #armDue(): void {
    // Nothing is released while there is no subscription; the next one looks again.
    const at = this.#store.members.size === 0 ? Infinity : this.#store.dueQueue.next()
    if (at === this.#dueAt && this.#dueTimer !== undefined) return
    this.#dueAt = at
    clearTimeout(this.#dueTimer)
    this.#dueTimer = undefined
    if (at === Infinity) return
    // Never sleeps for long: the clock may be changed.
    const wait = Math.min(Math.max(0, at - this.#clock.now()), 60_000)
    this.#dueTimer = setTimeout(() => {
      this.#dueTimer = undefined
      this.#schedule()
    }, wait)
  }

  /** Asks the handlers' thread whether it is alive: only its answer renews our leases. */
  #beat(): void {
    if (this.#store.members.size > 0) this.#replies.add({ kind: 'ping' })
    this.#replies.flush()
    this.#guard('looking after the file', () => this.#store.db.checkFile(), true)
    this.#guard('shrinking the write-ahead log', () => this.#shrinkLog())
    this.#reap()
  }

  #shrinkLog(): void {
    const bytes = this.#store.db.shrinkLog()
    if (bytes !== undefined && !this.#logIsHeld) {
      const detail = `the write-ahead log of the file has ${Math.round(bytes / 1_048_576)} MiB and can't be shrunk: some program has been reading the file in one transaction since then. End that transaction; the log takes disk space and slows down reading until then`
      this.#replies.add({ kind: 'warning', code: 'sqlite-log-held', detail })
    }
    this.#logIsHeld = bytes !== undefined
  }

  /** Checks that the file can be written and is still at its path. */
  #examine(): void {
    const probe = this.#background('looking after the file', () => this.#store.log.probe())
    this.#enqueue({ ...probe, durable: true })
  }

  #renew(tx: Tx): void {
    const { subscriptionLeases, members } = this.#store
    for (const member of subscriptionLeases.renew(members)) this.#tasks.revive(tx, member)
  }

  #reap(): void {
    const { subscriptionLeases, dueQueue, members, processes } = this.#store
    this.#enqueue(
      this.#background('taking back what dead processes held', (tx) => {
        processes.enter(tx)
        subscriptionLeases.reap(tx, members)
        this.#bringOutIdleKeys(tx)
        dueQueue.rebase(tx.now)
        tx.after(() => this.#armReap(subscriptionLeases.nextEndIn(members)))
      }),
    )
  }

  /**
   * A key that stands still would do so forever. There is no known way to get there, but correctness must not depend on
   * that.
   */
  #bringOutIdleKeys(tx: Tx): void {
    const { claims, members, parking } = this.#store
    for (const at of members.groups()) {
      if (!parking.any(at.id)) continue
      for (const key of parking.idleKeys(at.id)) {
        claims.release(tx, at.id, key, Number.MAX_SAFE_INTEGER)
        const detail = `messages of the key "${key}" stood still in the group "${at.group}" of topic "${at.topic.name}" and were brought out again. Please report it, with the file if you can`
        tx.after(() => this.#replies.add({ kind: 'warning', code: 'sqlite-key-stood-still', detail }))
      }
    }
  }

  #armReap(inMs: number): void {
    clearTimeout(this.#reapTimer)
    this.#reapTimer = undefined
    if (inMs < this.#settings.options.leaseMs / 3) this.#reapTimer = setTimeout(() => this.#reap(), inMs + 2)
  }

  #reportLosses(): void {
    const { losses } = this.#store
    if (this.#fileHealth.paused || !losses.pending()) return
    const report = this.#background('reporting losses', (tx) => losses.report(tx))
    const fail = (error: unknown): void => {
      losses.look()
      report.fail(error)
    }
    this.#enqueue({ ...report, fail })
  }

  #retain(): void {
    this.#guard('looking for old messages', () => this.#store.retention?.begin(this.#clock.now()))
    this.#retainStep()
  }

  #retainStep(): void {
    const { retention } = this.#store
    if (retention === undefined || this.#closing !== undefined) return
    this.#enqueue(
      this.#background('deleting old messages', (tx) => {
        if (retention.step(tx)) tx.after(() => this.#retainStep())
      }),
    )
  }

  // --- end ---------------------------------------------------------------------------------------------------------

  #close(call: number): void {
    for (const member of this.#store.members.all()) {
      const task = this.#tasks.unsubscribe(-1, member.sub)
      try {
        this.#transaction([task], false)
      } catch (error) {
        task.fail(error)
      }
    }
    this.#guard('leaving', () => this.#store.db.transaction(false, () => this.#store.processes.leave()))
    this.#closed = true
    this.#fileHealth.close()
    for (const timer of [this.#dueTimer, this.#pollTimer, this.#reapTimer, this.#heartbeat, this.#retentionTimer])
      clearTimeout(timer)
    if (this.#scheduled !== undefined) clearImmediate(this.#scheduled)
    this.#store.db.close()
    this.#replies.add({ kind: 'done', call, value: undefined })
    this.#replies.flush()
    this.#onClosed()
  }
}

function isDurable(tasks: readonly Task[]): boolean {
  return tasks.some((task) => task.durable)
}
