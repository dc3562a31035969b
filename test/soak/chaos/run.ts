import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { createBus } from 'busbar'
import type { Bus, ConsumeOptions, Transport } from 'busbar'
import { seededRandom, uniqueName, waitUntil } from 'busbar/testing'
import type { Random } from 'busbar/testing'
import type { Broker } from '../../../tools/brokers/index.ts'
import { pause } from '../../fault/flow.ts'
import type { ConsumerArgument } from './consumer.ts'
import { pickFault } from './faults.ts'
import type { FaultKind, Scene } from './faults.ts'
import type { Member, MemberFactory } from './member.ts'
import type { PublisherArgument, SentDetail } from './publisher.ts'
import type { Fault, Letter, Sent, Story } from './story.ts'

export interface ChaosOptions {
  readonly seed: string
  readonly durationMs: number
  readonly members: MemberFactory
  readonly faults: readonly FaultKind[]
  readonly broker: Broker | undefined
  /** For the bus that looks on: groups, dead letters, redrive. */
  readonly transport: () => Transport | Promise<Transport>
  /** After the last fault and the last publish everything must be handled within that time, in ms. */
  readonly drainMs: number
  readonly lateMs: number
}

type Group = ConsumeOptions & { readonly batch?: undefined }

const RETRY = { attempts: 40, baseMs: 50, maxMs: 400 } as const
/** Keyed with retries that wait in the process; keyed with more at once; without order, so that retries go through the broker. */
const GROUPS: Readonly<Record<string, Group>> = {
  billing: { concurrency: 4, prefetch: 32, retry: RETRY },
  search: { concurrency: 16, prefetch: 96, retry: RETRY },
  audit: { order: 'none', concurrency: 8, prefetch: 64, retry: RETRY },
}
const MEMBERS_AT_START = 2
const MOST_MEMBERS = 3
const KEYS = 12
const EVERY_MS = 100
const MOST_FAULTS_AT_ONCE = 2
const READ_EVERY_MS = 50

/** One run: members and a publisher under random faults; then quiet, a redrive, and the story of all of it. */
export class ChaosRun {
  readonly #options: ChaosOptions
  readonly #random: Random
  readonly #topic = uniqueName('chaos')
  readonly #folder = mkdtempSync(join(tmpdir(), 'busbar-chaos-'))
  readonly #faults: Fault[] = []
  /** All that ever were; those without `endedAt` run. */
  readonly #members: Member[] = []
  readonly #publishers: Member[] = []
  /** What a fault is busy with: names of members, `broker`, `publisher`. */
  readonly #busy = new Set<string>()
  #bus: Bus | undefined
  #reading: NodeJS.Timeout | undefined
  #reads = 0
  #count = 0

  constructor(options: ChaosOptions) {
    this.#options = options
    this.#random = seededRandom(options.seed)
  }

  async run(): Promise<Story> {
    const { durationMs, transport } = this.#options
    this.#bus = createBus({ service: 'onlooker', transport: await transport() })
    await this.#bus.start()
    this.#reading = setInterval(() => this.#readOne(), READ_EVERY_MS)
    const first = Object.keys(GROUPS).flatMap((group) => Array.from({ length: MEMBERS_AT_START }, () => group))
    await Promise.all(first.map((group) => this.#join(group)))
    await this.#publish()
    await this.#misbehave(performance.now() + durationMs)
    await this.#end(this.#publisher(), 'stop')
    return this.#rest(this.#bus)
  }

  /** Lets go of everything, whatever state it is in. */
  async close(): Promise<void> {
    clearInterval(this.#reading)
    for (const { child, proxy } of [...this.#members, ...this.#publishers]) {
      await child?.[Symbol.asyncDispose]()
      await proxy?.close()
    }
    const left = [...this.#members, ...this.#publishers].filter(
      ({ child, endedAt }) => child === undefined && endedAt === undefined,
    )
    await Promise.allSettled(left.map((member) => member.stop()))
    await this.#bus?.close({ timeoutMs: 2_000 })
    rmSync(this.#folder, { recursive: true, force: true })
  }

  /**
   * Reads the new records of the next member. All of them at once, at the end, would take seconds in which no proxy passes
   * anything on: leases would expire without a fault.
   */
  #readOne(): void {
    const all = [...this.#members, ...this.#publishers]
    all[this.#reads++ % all.length]?.records()
  }

  async #misbehave(until: number): Promise<void> {
    const running = new Set<Promise<void>>()
    const failures: unknown[] = []
    while (performance.now() < until && failures.length === 0) {
      // The instant is the fault.
      await pause(this.#random.integer(300, 2_500))
      if (running.size >= MOST_FAULTS_AT_ONCE) continue
      const fault = this.#fault(pickFault(this.#random, this.#options.faults))
        .catch((error: unknown) => void failures.push(error))
        .finally(() => running.delete(fault))
      running.add(fault)
    }
    await Promise.all(running)
    if (failures.length > 0)
      throw new AggregateError(failures, `seed ${this.#options.seed}: a fault could not be played`)
  }

  async #fault(kind: FaultKind): Promise<void> {
    const { broker } = this.#options
    const free = this.#living().filter(({ name }) => !this.#busy.has(name))
    if (free.length === 0) return
    const member = this.#random.pick(free)
    const target = kind.target === 'member' ? member.name : kind.target
    // Joins, and what happens to others, need a broker that answers; a fault of the broker has it for itself.
    const exclusive = kind.target === 'broker' ? this.#busy.size > 0 : this.#busy.has('broker')
    if (this.#busy.has(target) || exclusive) return
    this.#busy.add(target)
    const at = Date.now()
    const scene: Scene = {
      random: this.#random,
      broker,
      replace: async (leaving, how, pauseMs) => {
        await this.#end(leaving, how)
        await pause(pauseMs)
        await this.#join(leaving.group)
      },
      join: async () => {
        const group = this.#random.pick(Object.keys(GROUPS))
        if (this.#living().filter((found) => found.group === group).length < MOST_MEMBERS) await this.#join(group)
      },
      replacePublisher: async (how) => {
        await this.#end(this.#publisher(), how)
        await this.#publish()
      },
    }
    try {
      await kind.run(scene, member)
    } finally {
      this.#busy.delete(target)
      const until = Date.now()
      const severs = kind.severs === true && until - at >= (kind.seversAfterMs ?? 0)
      this.#faults.push({ kind: kind.name, target, severs, at, until })
    }
  }

  #living(): readonly Member[] {
    return this.#members.filter(({ endedAt }) => endedAt === undefined)
  }

  #publisher(): Member {
    const publisher = this.#publishers.at(-1)
    if (publisher === undefined) throw new Error('there is no publisher')
    return publisher
  }

  async #end(member: Member, how: 'kill' | 'stop'): Promise<void> {
    if (how === 'kill') await member.child?.kill()
    else await member.stop()
    member.endedAt = Date.now()
    await member.proxy?.close()
  }

  async #join(group: string): Promise<void> {
    const options = { ...GROUPS[group], group }
    const argument: ConsumerArgument = { topic: this.#topic, options, healed: this.#healed() }
    this.#members.push(await this.#options.members(`${group}-${++this.#count}`, group, 'consumer', argument))
  }

  async #publish(): Promise<void> {
    const service = `p${++this.#count}-${this.#topic.slice(-6)}`
    const { seed } = this.#options
    const argument: PublisherArgument = { topic: this.#topic, service, seed, keys: KEYS, everyMs: EVERY_MS }
    this.#publishers.push(await this.#options.members(service, '', 'publisher', argument))
  }

  #healed(): string {
    return join(this.#folder, 'healed')
  }

  /** Waits for what is left, redrives what was dead-lettered, waits again, and puts the story together. */
  async #rest(bus: Bus): Promise<Story> {
    let sent: readonly Sent[] = []
    for (const publisher of this.#publishers) {
      sent = sent.concat(sentBy(publisher))
      await nextTurn()
    }
    const confirmed = sent.filter(({ fate }) => fate === 'confirmed')
    const poison = new Set(confirmed.filter(({ kind }) => kind === 'poison').map(({ id }) => id))
    await this.#quiet(
      confirmed.filter(({ id }) => !poison.has(id)).map(({ id }) => id),
      'done',
    )
    await this.#quiet([...poison], 'rejected')
    const letters: Letter[] = []
    for (const group of Object.keys(GROUPS))
      for (const { message, reason } of await bus.deadLetters(this.#topic, group).list())
        letters.push({ id: message.id, group, reason })
    writeFileSync(this.#healed(), '')
    const redrivenAt = Date.now()
    for (const group of Object.keys(GROUPS)) await bus.deadLetters(this.#topic, group).redrive()
    await this.#quiet(
      confirmed.map(({ id }) => id),
      'done',
    )
    const lag = await this.#lag(bus)
    const unwell = (await Promise.all(this.#living().map((member) => member.unwell()))).filter(
      (text) => text !== undefined,
    )
    const seen = this.#members.flatMap(({ name, group, records }) =>
      records().map((record) => ({ ...record, group, member: name })),
    )
    return {
      groups: Object.keys(GROUPS),
      ordered: Object.keys(GROUPS).filter((group) => GROUPS[group]?.order !== 'none'),
      sent,
      seen,
      faults: this.#faults.toSorted((a, b) => a.at - b.at),
      letters,
      redrivenAt,
      lag,
      unwell,
      lateMs: this.#options.lateMs,
    }
  }

  /** Until each group has those messages; at the latest until the time is up, and then the story says what is missing. */
  async #quiet(ids: readonly string[], type: 'done' | 'rejected'): Promise<void> {
    const left = new Map(Object.keys(GROUPS).map((group) => [group, new Set(ids)]))
    const looked = new Map<Member, number>()
    // Each record is looked at once, and those of one member in a turn: there are a million of them.
    const complete = async (): Promise<boolean> => {
      for (const member of this.#members) {
        const records = member.records()
        for (const record of records.slice(looked.get(member) ?? 0))
          if (record.type === type) left.get(member.group)?.delete(record.id)
        looked.set(member, records.length)
        await nextTurn()
      }
      return [...left.values()].every(({ size }) => size === 0)
    }
    await waitUntil(complete, { timeoutMs: this.#options.drainMs, intervalMs: 250 }).catch(() => undefined)
  }

  /** The last outcomes need a moment until the broker has counted them. */
  async #lag(bus: Bus): Promise<Readonly<Record<string, number>>> {
    const look = async (): Promise<Record<string, number>> =>
      Object.fromEntries((await bus.admin().groups(this.#topic)).map(({ group, lag }) => [group, lag ?? 0]))
    let last: Record<string, number> = {}
    const none = async (): Promise<boolean> => {
      last = await look()
      return Object.values(last).every((count) => count === 0)
    }
    await waitUntil(none, { timeoutMs: 15_000, intervalMs: 250 }).catch(() => undefined)
    return last
  }
}

/** What a publisher has on record, one entry for each message, with the fate of those that its death left open. */
function sentBy({ records, endedAt }: Member): readonly Sent[] {
  const all = records()
  const settled = new Map(all.filter(({ type }) => type !== 'sent').map((record) => [record.id, record]))
  return all
    .filter(({ type }) => type === 'sent')
    .map(({ id, key, at, detail = '{}' }) => {
      const end = settled.get(id)
      const { kind, delayMs } = JSON.parse(detail) as SentDetail
      const fate = end?.type === 'confirmed' ? 'confirmed' : end?.detail === 'not-sent' ? 'not-sent' : 'unknown'
      return { id, key, kind, delayMs, at, fate, settledAt: end?.at ?? endedAt ?? Date.now() }
    })
}
