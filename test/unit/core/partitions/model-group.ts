import type {
  BeatReply,
  BeatRequest,
  Claimed,
  GroupDriver,
  GroupView,
  LeaseView,
  MemberState,
  PartitionState,
  ReleaseRequest,
} from '../../../../src/core/partitions/group-driver.ts'
import type { GroupSimulation, SimulatedProcess } from './group-simulation.ts'

interface Stored {
  readonly topic: string
  readonly partition: number
  holder: string | undefined
  generation: number
  position: number | undefined
  isUnclean: boolean
}

/** A server that does each call of a driver in one step, as scripts in Redis do. */
export class ModelGroup {
  readonly members: Map<string, { state: MemberState; renewedAt: number; version: number }> = new Map()
  readonly partitions: Map<string, Stored> = new Map()
  readonly leaseMs: number
  /** The server tells how long members have been silent. */
  readonly tellsTime: boolean
  /** Members to notify of changes. */
  onChange: (ids: readonly string[] | 'all') => void = () => {}
  #simulation: GroupSimulation
  #version = 0
  #renewals = 0
  #deathAt: number | undefined
  #claimsFrom = -Infinity

  constructor(simulation: GroupSimulation, leaseMs: number, tellsTime: boolean) {
    this.#simulation = simulation
    this.leaseMs = leaseMs
    this.tellsTime = tellsTime
  }

  /** The broker was restarted and has forgotten everything. Whoever held something may not know for a lease. */
  forget(): void {
    this.#claimsFrom = this.#simulation.now + this.leaseMs * 1.1
    this.members.clear()
    for (const one of this.partitions.values()) {
      one.holder = undefined
      one.isUnclean = true
      one.generation += 1_000_000
    }
    this.#version += 1_000
  }

  /** An operator has edited the group. */
  touch(): void {
    this.#changed()
  }

  driver(process: SimulatedProcess, id: string): GroupDriver<number> {
    const call = <Result>(serve: () => Result): Promise<Result> =>
      this.#simulation.call(process, this.leaseMs / 3, serve)
    return {
      join: (member) => call(() => this.#join(member)),
      beat: (request) => call(() => this.#beat(request)),
      claim: (partitions) => call(() => this.#claim(id, partitions)),
      release: (partitions) => call(() => this.#release(id, partitions)),
      fence: (lease) => call(() => this.#fence(lease)),
      leave: () => call(() => this.#remove(id)),
    }
  }

  /** The server's answer to a settlement. */
  settle(id: string, topic: string, partition: number, generation: number): boolean {
    const stored = this.partitions.get(`${topic}/${partition}`)
    return stored !== undefined && stored.holder === id && stored.generation === generation
  }

  #changed(whom: readonly string[] | 'all' = []): void {
    this.#version++
    this.onChange(whom)
  }

  #join(member: MemberState): BeatReply {
    this.members.set(member.id, { state: member, renewedAt: this.#simulation.now, version: ++this.#renewals })
    this.#changed('all')
    return { isMember: true, view: this.#view(), leases: [] }
  }

  #beat({ member, changed, renew, seen, watch }: BeatRequest): BeatReply {
    const known = this.members.get(member.id)
    if (known !== undefined && renew) {
      known.renewedAt = this.#simulation.now
      known.version = ++this.#renewals
    }
    if (known !== undefined && changed) {
      known.state = member
      this.#changed('all')
    }
    const ids = watch === 'all' ? [...this.members.keys()] : watch
    const leases = ids.map((id) => this.#lease(id))
    return { isMember: known !== undefined, view: seen === String(this.#version) ? undefined : this.#view(), leases }
  }

  #lease(id: string): LeaseView {
    const found = this.members.get(id)
    const { leaseMs } = this
    if (found === undefined) return { id, version: '', leaseMs }
    const lease = { id, version: String(found.version), leaseMs }
    return this.tellsTime ? { ...lease, silentMs: this.#simulation.now - found.renewedAt } : lease
  }

  #view(): GroupView {
    return {
      version: String(this.#version),
      members: [...this.members.values()].map(({ state }) => state),
      partitions: [...this.partitions.values()].map((stored) => ({ ...stored })),
      lastDeathMs: this.#deathAt === undefined ? undefined : this.#simulation.now - this.#deathAt,
    }
  }

  #claim(id: string, partitions: readonly PartitionState[]): Claimed<number>[] {
    if (!this.members.has(id) || this.#simulation.now < this.#claimsFrom) return []
    const claimed: Claimed<number>[] = []
    for (const { topic, partition, generation } of partitions) {
      const key = `${topic}/${partition}`
      const stored = this.partitions.get(key) ?? {
        topic,
        partition,
        holder: undefined,
        generation: 0,
        position: undefined,
        isUnclean: false,
      }
      if (stored.generation !== generation || (stored.holder !== undefined && stored.holder !== id)) continue
      const isUnclean = stored.isUnclean || stored.holder === id
      stored.holder = id
      stored.generation++
      stored.isUnclean = false
      this.partitions.set(key, stored)
      claimed.push({ topic, partition, generation: stored.generation, position: stored.position, isUnclean })
    }
    if (claimed.length > 0) this.#changed()
    return claimed
  }

  #release(id: string, partitions: readonly ReleaseRequest<number>[]): void {
    const next = new Set<string>()
    for (const one of partitions) {
      const stored = this.partitions.get(`${one.topic}/${one.partition}`)
      if (stored === undefined || stored.holder !== id || stored.generation !== one.generation) continue
      stored.holder = undefined
      stored.isUnclean = one.isUnclean
      if (one.position !== undefined) stored.position = one.position
      if (one.next !== undefined) next.add(one.next)
    }
    this.#changed([...next])
  }

  #fence({ id, version }: LeaseView): void {
    const found = this.members.get(id)
    if (found === undefined || String(found.version) !== version) return
    this.#deathAt = this.#simulation.now
    this.#remove(id)
  }

  #remove(id: string): void {
    this.members.delete(id)
    for (const stored of this.partitions.values())
      if (stored.holder === id) {
        stored.holder = undefined
        stored.isUnclean = true
      }
    this.#changed('all')
  }
}
