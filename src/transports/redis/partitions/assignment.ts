import type { MemberContext } from '../consume/member-context.ts'
import { BEAT } from '../scripts/group.ts'
import { memberProcesses } from '../topology/member-processes.ts'

/** `k` has partitions of its own, `p` the same but paused, `n` reads all partitions beside others. */
export type MemberKind = 'k' | 'p' | 'n'

/** What a member learns when it reports to its group. */
export interface Share {
  /** Numbers of the partitions that are the member's. */
  readonly mine: ReadonlySet<number>
  /** The largest number of partitions that a member knows of. */
  readonly partitions: number
  /** Since the last report, the group has become mixed (see `isMixed`), or is mixed no longer. */
  readonly mixedChanged: boolean
  /** It gets its share when others have reported or died, or when it has lived for a lease. */
  readonly isWaiting: boolean
}

/** Which member of a group has which partitions of a topic: decided by the server, whenever a member reports. */
export class Assignment {
  readonly key: string
  readonly #member: MemberContext
  readonly #topic: string
  #revision = ''
  #isShared = false
  #isMixed = false

  constructor(member: MemberContext, topic: string) {
    this.key = member.context.keys.assignment(topic, member.spec.group)
    this.#member = member
    this.#topic = topic
  }

  /** As of the last report: it changes with every change of the assignment. */
  get revision(): string {
    return this.#revision
  }

  /** There are other members. */
  get isShared(): boolean {
    return this.#isShared
  }

  /** Members without an order read the partitions of the others as well. */
  get isMixed(): boolean {
    return this.#isMixed
  }

  /** Reports that the member exists, and notifies the others if that changes their shares. Takes the lease of the process first. */
  async report(kind: MemberKind, partitions: number): Promise<Share> {
    const { context } = this.#member
    await context.lease.start()
    const [count, mixed, most, revision, changed, waits, ...mine] = await this.#run(kind, partitions, false)
    context.reports.accepted('upkeep')
    const wasMixed = this.#isMixed
    this.#isShared = Number(count) > 1
    this.#revision = String(revision)
    this.#isMixed = mixed === 1
    if (changed === 1) context.maintenance.announce(this.#topic, this.#member.spec.group)
    if (this.#isMixed && !wasMixed) this.#warn()
    return {
      mine: new Set(mine as number[]),
      partitions: Number(most),
      mixedChanged: this.#isMixed !== wasMixed,
      isWaiting: waits === 1,
    }
  }

  /** Removes the member: its partitions go to the others, who are notified. */
  async leave(kind: MemberKind, partitions: number): Promise<void> {
    await this.#run(kind, partitions, true)
    this.#member.context.maintenance.announce(this.#topic, this.#member.spec.group)
  }

  /** Emits `rebalance` with the names of the partitions that the member has got and gives up, if there are any. */
  emitChanges(changes: { readonly assigned: readonly string[]; readonly revoked: readonly string[] }): void {
    if (changes.assigned.length + changes.revoked.length === 0) return
    const { context, spec } = this.#member
    context.host.events.emit('rebalance', {
      transport: context.host.name,
      topic: this.#topic,
      group: spec.group,
      consumerId: spec.consumerId,
      ...changes,
    })
  }

  async #run(kind: MemberKind, partitions: number, isLeaving: boolean): Promise<readonly (number | Buffer)[]> {
    const { context, spec } = this.#member
    const { scripts, lease, options } = context
    const about = [
      spec.consumerId,
      lease.name,
      String(options.leaseMs),
      String(partitions),
      kind,
      isLeaving ? '1' : '0',
    ]
    for (const [name, until] of await this.#absent()) about.push(name, String(until))
    return (await scripts.run(BEAT, [this.key], about)) as readonly (number | Buffer)[]
  }

  /** Processes with members that don't count, and when their leases end: silent ones, and dead ones (negative). */
  async #absent(): Promise<ReadonlyMap<string, number>> {
    const { commands, lease } = this.#member.context
    const processes = new Set(await memberProcesses(commands, this.key))
    processes.delete(lease.name)
    const absent = new Map(lease.others)
    for (const name of await lease.deadOf([...processes])) absent.set(name, -1)
    return absent
  }

  #warn(): void {
    const { host } = this.#member.context
    host.events.emit('warning', {
      transport: host.name,
      code: 'redis-mixed-order',
      detail: `Group "${this.#member.spec.group}" of "${this.#topic}" has members with order 'none' and others with an order: those without take messages of any key from the others, so no order holds.`,
    })
  }
}
