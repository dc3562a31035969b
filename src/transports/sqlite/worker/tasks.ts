import { StateError } from '../../../core/errors.ts'
import { transferOf } from './columns.ts'
import { toThreadError } from './database.ts'
import { Member } from './members.ts'
import type { ReplyQueue } from './reply-queue.ts'
import type { AdminRequest, Command, SettleFailure, ThreadError } from '../protocol.ts'
import type { NoteCommand, OutcomeRange, SettleCommand } from './settling.ts'
import type { Store } from './store.ts'
import type { Tx } from './tx.ts'

/** Work for a transaction, alone or together with other tasks. */
export interface Task {
  /** Waits for the disk before it counts as done. */
  readonly durable: boolean
  /** About how many rows it touches. */
  readonly weight: number
  run(tx: Tx): void
  /** Its transaction was rolled back. */
  fail(error: unknown): void
  /** Makes two tasks of it, for the case that only a part of it can't be written. */
  halves?(): readonly [Task, Task] | undefined
}

/** Maximum number of messages that a purge deletes in one transaction. */
const PURGE_STEP = 2_000

/** Turns the transport's commands into tasks. */
export class Tasks {
  readonly #store: Store
  readonly #replies: ReplyQueue
  readonly #enqueue: (task: Task) => void
  readonly #giveBack: (member: Member, command: SettleCommand, indexes: readonly number[]) => void

  constructor(parts: {
    store: Store
    replies: ReplyQueue
    enqueue: (task: Task) => void
    /** Gives back leases whose outcome could not be written. */
    giveBack: (member: Member, command: SettleCommand, indexes: readonly number[]) => void
  }) {
    this.#store = parts.store
    this.#replies = parts.replies
    this.#enqueue = parts.enqueue
    this.#giveBack = parts.giveBack
  }

  publish(command: Extract<Command, { kind: 'publish' }>): Task {
    return this.#task(command.call, { durable: true, weight: command.batch.ids.length }, (tx) => {
      const seqs = this.#store.log.append(tx, command.batch)
      tx.after(() => this.#replies.add({ kind: 'published', call: command.call, seqs }, [seqs.buffer as ArrayBuffer]))
    })
  }

  settle(command: SettleCommand): Task {
    const failures: SettleFailure[] = []
    let open = command.tokens.length
    const answer = (count: number, failed: readonly SettleFailure[]): void => {
      failures.push(...failed)
      open -= count
      if (open === 0) this.#replies.add({ kind: 'settled', call: command.call, failures })
    }
    return this.#settleRange({ command, from: 0, to: command.tokens.length }, answer)
  }

  #settleRange(range: OutcomeRange, answer: (count: number, failures: readonly SettleFailure[]) => void): Task {
    const { members, settling } = this.#store
    const { command, from, to } = range
    const count = to - from
    const indexes = (): number[] => Array.from({ length: count }, (_, at) => from + at)
    const failAll = (error: ThreadError | undefined): void =>
      answer(
        count,
        indexes().map((index) => ({ index, error })),
      )
    return {
      durable: command.messages !== undefined,
      weight: count + (command.messages?.ids.length ?? 0),
      run: (tx) => {
        const member = members.get(command.sub)
        if (member === undefined) tx.after(() => failAll(undefined))
        else settling.settle(tx, member, range, (failures) => answer(count, failures))
      },
      fail: (error) => {
        failAll(toThreadError(error))
        const member = members.get(command.sub)
        if (member === undefined) return
        // The caller retries outcomes that have messages, and keeps their source until then. All other failures can be ignored.
        const silent = indexes().filter((index) => (command.messageCounts?.[index] ?? 0) === 0)
        this.#giveBack(member, command, silent)
      },
      halves: () => {
        // Without messages there is nothing that only some outcomes have to write.
        if (command.messages === undefined || count < 2) return undefined
        const middle = from + (count >> 1)
        return [
          this.#settleRange({ command, from, to: middle }, answer),
          this.#settleRange({ command, from: middle, to }, answer),
        ]
      },
    }
  }

  note(command: NoteCommand): Task {
    return this.#task(command.call, { durable: false, weight: command.tokens.length }, (tx) => {
      const member = this.#store.members.get(command.sub)
      if (member !== undefined) this.#store.settling.note(tx, member, command)
      tx.after(() => this.#replies.add({ kind: 'done', call: command.call, value: undefined }))
    })
  }

  subscribe({ call, sub, spec }: Extract<Command, { kind: 'subscribe' }>): Task {
    const { claims, groups, losses, members, subscriptionLeases } = this.#store
    return this.#task(call, { durable: false, weight: 100 }, (tx) => {
      // Its tokens would begin again at 1, and an outcome would be applied to another message.
      if (members.get(sub) !== undefined) throw new StateError(`Subscription ${sub} has subscribed before`)
      const owner = subscriptionLeases.add(spec)
      const joined = groups.join(tx, spec)
      const { order } = spec
      if (order !== 'none') for (const { group } of joined) claims.reorder(tx, group.id, order)
      tx.after(() => {
        const member = new Member(sub, spec, owner)
        members.add(member)
        for (const { topic, group } of joined) members.sit(member, topic, group)
        losses.look()
        this.#replies.add({ kind: 'done', call, value: undefined })
      })
    })
  }

  /** Other processes took a subscription for dead while its process slept: it has lost everything and starts over. */
  revive(tx: Tx, member: Member): void {
    if (!tx.first(member)) return
    const { members, groups, subscriptionLeases } = this.#store
    const spec = { ...member.spec, from: 'latest' as const }
    const owner = subscriptionLeases.add(spec)
    const joined = groups.join(tx, spec)
    tx.after(() => {
      this.#replies.lostAll(member, 'its lease ended: the process did not answer in time')
      member.owner = owner
      member.hungryAt = 0
      for (const { topic, group } of joined) members.sit(member, topic, group)
      if (!spec.ephemeral) return
      const reason =
        'the process did not answer for longer than leaseMs, and nothing is kept for a broadcast consumer meanwhile'
      const { topic, group } = spec
      this.#replies.add({ kind: 'loss', topic, group, count: undefined, seq: undefined, reason })
    })
  }

  unsubscribe(call: number, sub: number): Task {
    const { members, subscriptionLeases } = this.#store
    const forget = (): void => {
      const member = members.get(sub)
      if (member === undefined) return
      member.endAll()
      members.remove(member)
    }
    const task = this.#task(call, { durable: false, weight: 100 }, (tx) => {
      const member = members.get(sub)
      if (member !== undefined) {
        // What it gives back must not be claimed by it again.
        member.stopped = true
        subscriptionLeases.remove(tx, member.owner, member.spec.group, member.spec.ephemeral)
      }
      tx.after(() => {
        forget()
        this.#replies.add({ kind: 'done', call, value: undefined })
      })
    })
    return {
      ...task,
      fail: (error) => {
        // The lease expires by itself.
        forget()
        task.fail(error)
      },
    }
  }

  admin(call: number, request: AdminRequest): Task {
    const { topics, groups, log, claims, groupStats, members, subscriptionLeases } = this.#store
    const durable = request.method === 'remove' || request.method === 'purge'
    return this.#task(call, { durable, weight: 500 }, (tx) => {
      const reply = (value: unknown): void => tx.after(() => this.#replies.add({ kind: 'done', call, value }))
      switch (request.method) {
        case 'ensureTopic':
          topics.ensure(tx, request.topic)
          return reply(undefined)
        case 'topics':
          return reply(topics.info())
        case 'groups':
          return reply(groupStats.groups(request.topic, tx.now))
        case 'seek': {
          const group = groups.seek(tx, topics.ensure(tx, request.topic), request.group, request.to)
          tx.after(() => this.#moved(group.id))
          return reply(undefined)
        }
        case 'read': {
          const topic = topics.find(request.topic)
          const answer = topic === undefined ? undefined : log.read(topic, request.after, request.limit)
          const transfer = answer === undefined ? [] : transferOf(answer.columns)
          return tx.after(() => this.#replies.add({ kind: 'done', call, value: answer }, transfer))
        }
        case 'remove': {
          const topic = topics.find(request.topic)
          return reply(topic === undefined ? 0 : log.remove(tx, topic, request.seqs, claims))
        }
        case 'purge': {
          const topic = topics.find(request.topic)
          if (topic === undefined) return reply(0)
          const upTo = groups.skipAll(tx, topic)
          for (const at of members.groups()) {
            if (at.topic.id === topic.id) tx.after(() => this.#moved(at.id))
          }
          return tx.after(() => this.#enqueue(this.#purgeStep(call, topic, upTo, 0)))
        }
        case 'deleteGroup': {
          const reset = groups.remove(
            tx,
            request.topic,
            request.group,
            subscriptionLeases.livePatternsOf(request.group),
          )
          tx.after(() => {
            for (const id of reset) this.#moved(id)
          })
          return reply(undefined)
        }
      }
    })
  }

  #purgeStep(call: number, topic: { readonly id: number; readonly name: string }, upTo: number, before: number): Task {
    return this.#task(call, { durable: true, weight: PURGE_STEP }, (tx) => {
      const removed = this.#store.log.purge(topic, upTo, PURGE_STEP)
      tx.after(() => {
        const total = before + removed
        if (removed < PURGE_STEP) this.#replies.add({ kind: 'done', call, value: total })
        else this.#enqueue(this.#purgeStep(call, topic, upTo, total))
      })
    })
  }

  #moved(groupId: number): void {
    const { members, groups } = this.#store
    const at = members.group(groupId)
    if (at !== undefined) this.#replies.moved(at, groups.get(groupId))
  }

  #task(call: number, about: { durable: boolean; weight: number }, run: (tx: Tx) => void): Task {
    return {
      ...about,
      run,
      fail: (error) => this.#replies.add({ kind: 'failed', call, error: toThreadError(error) }),
    }
  }
}
