import type { RedisParts } from '../parts.ts'
import { Ticker } from './ticker.ts'

/** Notices that are kept: a process that missed some finds out by the revision of each assignment, within a lease. */
const KEPT_NOTICES = 1_000

/** Quiet groups that are due soon are looked at with the same script as those that are due, up to this number in all. */
const TOGETHER = 24
/** How much sooner they may be looked at, in leases. */
const SOON_LEASES = 0.25

/** What is maintained: one topic of one consumer. */
export interface Maintained {
  readonly topic: string
  readonly group: string
  /** When it is to be looked at again (monotonic), if nothing else is to be done in it; otherwise undefined. */
  readonly quietUntil: number | undefined
  /** Does what is due until that time (monotonic), and reports errors itself. */
  maintain(until: number): void
  /** Something in the group has changed: a member came or went, or it has a new copy of a message. */
  changed(): void
  /** There is a new connection, perhaps to another server. */
  reconnected(): void
  /** Ends its part in the group; rejects when the server could not be told. */
  leave(): Promise<void>
}

/**
 * Maintains all groups that this process reads in: one question to the server per poll for all of them, and one script
 * for each that has something to do. While nothing changes, each is looked at once per lease.
 */
export class Maintenance {
  readonly #context: RedisParts
  readonly #ticker: Ticker
  readonly #maintained = new Map<string, Set<Maintained>>()
  readonly #announced = new Map<string, readonly [group: string, topic: string]>()
  /** Those that have ended here, and that the server still takes for members. */
  readonly #leaving = new Set<Maintained>()
  /** Id of the last notice that was seen. */
  #lastNotice: string | undefined
  #started = false

  constructor(context: RedisParts) {
    this.#context = context
    this.#ticker = new Ticker(context.host.clock, context.options.pollIntervalMs, () => this.#run())
  }

  async add(one: Maintained): Promise<void> {
    const name = nameOf(one.topic, one.group)
    const same = this.#maintained.get(name)
    if (same === undefined) this.#maintained.set(name, new Set([one]))
    else same.add(one)
    if (this.#lastNotice !== undefined) return
    const { commands, keys } = this.#context
    const newest = (await commands.call(keys.notices, ['XREVRANGE', keys.notices, '+', '-', 'COUNT', '1'])) as Notices
    this.#lastNotice ??= String(newest[0]?.[0] ?? '0-0')
    if (this.#started) return
    this.#started = true
    this.#ticker.start()
  }

  remove(one: Maintained): void {
    const name = nameOf(one.topic, one.group)
    const same = this.#maintained.get(name)
    same?.delete(one)
    if (same?.size === 0) this.#maintained.delete(name)
  }

  /** Runs again after at most `ms`. */
  soon(ms: number): void {
    if (this.#started) this.#ticker.soon(ms)
  }

  /** The server could not be told that it has left. As long as this process lives, others would wait for what it owns. */
  leaveLater(one: Maintained): void {
    this.#leaving.add(one)
  }

  /** Other processes fell silent, died or came back. */
  changed(): void {
    for (const same of this.#maintained.values()) for (const one of same) one.changed()
    this.soon(0)
  }

  reconnected(): void {
    for (const same of this.#maintained.values()) for (const one of same) one.reconnected()
    this.soon(0)
  }

  /** Tells all processes that something in a group has changed; once for all calls of a turn. */
  announce(topic: string, group: string): void {
    if (this.#announced.size === 0) setImmediate(() => this.#sendNotices())
    this.#announced.set(nameOf(topic, group), [group, topic])
  }

  #sendNotices(): void {
    const { commands, keys, reports } = this.#context
    for (const notice of this.#announced.values())
      commands
        .call(keys.notices, ['XADD', keys.notices, 'MAXLEN', '~', String(KEPT_NOTICES), '*', ...notice])
        .catch((error: unknown) => reports.error(error, 'telling other processes of a change'))
    this.#announced.clear()
  }

  stop(): Promise<void> {
    return this.#ticker.stop()
  }

  async #run(): Promise<void> {
    const { commands, host, reports } = this.#context
    if ((this.#maintained.size === 0 && this.#leaving.size === 0) || !commands.connected) return
    for (const one of this.#leaving) void this.#leave(one)
    try {
      await this.#readNotices()
    } catch (error) {
      reports.error(error, 'reading notices of other processes')
    }
    this.#maintainAll(host.clock.monotonic())
  }

  #maintainAll(now: number): void {
    const soon: Maintained[] = []
    const soonUntil = now + this.#context.options.leaseMs * SOON_LEASES
    let quiet = 0
    for (const same of this.#maintained.values())
      for (const one of same) {
        const { quietUntil = -Infinity } = one
        if (quietUntil <= now) {
          if (quietUntil > -Infinity) quiet++
          one.maintain(now)
        } else if (quietUntil <= soonUntil && soon.length < TOGETHER) soon.push(one)
      }
    if (quiet > 0) for (const one of soon.slice(0, Math.max(0, TOGETHER - quiet))) one.maintain(soonUntil)
  }

  async #leave(one: Maintained): Promise<void> {
    this.#leaving.delete(one)
    try {
      await one.leave()
    } catch (error) {
      this.#leaving.add(one)
      this.#context.reports.error(error, `leaving group "${one.group}"`)
    }
  }

  async #readNotices(): Promise<void> {
    const { commands, keys } = this.#context
    const after = `(${this.#lastNotice ?? '0-0'}`
    // Not XREAD, whose reply has another form in version 3 of the protocol, which a given client may speak.
    const range = ['XRANGE', keys.notices, after, '+', 'COUNT', String(KEPT_NOTICES)]
    const notices = (await commands.call(keys.notices, range)) as Notices
    for (const [id, [group, topic]] of notices) {
      this.#lastNotice = String(id)
      for (const one of this.#maintained.get(nameOf(String(topic), String(group))) ?? []) one.changed()
    }
  }
}

type Notices = readonly (readonly [Buffer, readonly Buffer[]])[]

function nameOf(topic: string, group: string): string {
  return `${group} ${topic}`
}
