import type { Random } from 'busbar/testing'
import type { Clock } from '../../../../src/core/clock.ts'
import type { Claimed, GroupDriver, Partition } from '../../../../src/core/partitions/group-driver.ts'
import { PartitionHolder } from '../../../../src/core/partitions/partition-holder.ts'
import type { HolderHost, PartitionHolderOptions } from '../../../../src/core/partitions/partition-holder.ts'

/** How badly the network behaves: the chance of each kind of fault, for each call. */
export interface Weather {
  readonly lostRequest: number
  readonly lostReply: number
  /** The request arrives after the caller has given up. */
  readonly lateRequest: number
  /** The reply comes just before the caller would give up. */
  readonly slowReply: number
}

/** A request arrives within that many leases, or never. */
export const LATEST_LEASES = 3

export const CALM: Weather = { lostRequest: 0, lostReply: 0, lateRequest: 0, slowReply: 0 }
export const STORM: Weather = { lostRequest: 0.05, lostReply: 0.05, lateRequest: 0.05, slowReply: 0.1 }

const MOST_EVENTS = 50_000

interface Event {
  at: number
  readonly turn: number
  readonly process: SimulatedProcess | undefined
  readonly fire: () => void
}

/** Virtual time, a network, and processes with clocks that run at different speeds. Nothing happens but by `run`. */
export class GroupSimulation {
  readonly random: Random
  readonly processes: SimulatedProcess[] = []
  weather: Weather = CALM
  now: number = 0
  /** Called after each event. */
  onEvent: () => void = () => {}
  #turn = 0
  #events: Event[] = []

  constructor(random: Random) {
    this.random = random
  }

  at(delayMs: number, process: SimulatedProcess | undefined, fire: () => void): { cancel: () => void } {
    const event: Event = { at: this.now + delayMs, turn: this.#turn++, process, fire }
    this.#events.push(event)
    return {
      cancel: () => {
        this.#events = this.#events.filter((other) => other !== event)
      },
    }
  }

  async run(ms: number): Promise<void> {
    const end = this.now + ms
    await quiet()
    for (let events = 0; ; events++) {
      if (events > MOST_EVENTS) throw new Error(`${events} events in ${ms} ms: something repeats without end`)
      const event = this.#pop(end)
      if (event === undefined) break
      event.fire()
      await quiet()
      this.onEvent()
    }
    this.now = end
  }

  #pop(end: number): Event | undefined {
    for (;;) {
      let first: Event | undefined
      for (const event of this.#events)
        if (first === undefined || event.at < first.at || (event.at === first.at && event.turn < first.turn))
          first = event
      if (first === undefined || first.at > end) return undefined
      const { process } = first
      if (process !== undefined && process.isAlive && process.frozenUntil > first.at) {
        first.at = process.frozenUntil
        continue
      }
      this.#events = this.#events.filter((other) => other !== first)
      this.now = Math.max(this.now, first.at)
      if (process === undefined || process.isAlive) return first
    }
  }

  /** A call over the network: may be lost, late, or answered to nobody. `timeoutMs` is by the caller's clock. */
  call<Result>(process: SimulatedProcess, timeoutMs: number, serve: () => Result): Promise<Result> {
    const { random } = this
    process.calls++
    return new Promise((resolve, reject) => {
      const timer = process.clock.setTimer(timeoutMs, () => reject(new Error('no answer in time')))
      if (process.isCut || random.chance(this.weather.lostRequest)) return
      const isLate = random.chance(this.weather.lateRequest)
      const travelMs = isLate ? timeoutMs * (1 + random.next() * (3 * LATEST_LEASES - 2)) : 0.2 + random.next() * 3
      const replyMs = random.chance(this.weather.slowReply) ? timeoutMs * 0.95 : 0.2 + random.next() * 3
      const isAnswered = !random.chance(this.weather.lostReply)
      this.at(travelMs, undefined, () => {
        let answer: () => void
        try {
          const result = serve()
          answer = () => resolve(result)
        } catch (error) {
          answer = () => reject(error)
        }
        if (!isAnswered) return
        this.at(replyMs, process, () => {
          if (process.isCut) return
          timer.cancel()
          answer()
        })
      })
    })
  }
}

async function quiet(): Promise<void> {
  await new Promise((resolve) => {
    setImmediate(resolve)
  })
}

/** A process that may be frozen, cut off or killed. */
export class SimulatedProcess {
  readonly clock: Clock
  isAlive: boolean = true
  isCut: boolean = false
  frozenUntil: number = -Infinity
  calls: number = 0

  constructor(simulation: GroupSimulation, rate: number) {
    const startedAt = simulation.random.next() * 1e6
    this.clock = {
      now: () => 0,
      monotonic: () => startedAt + simulation.now * rate,
      setTimer: (delayMs, fire) => simulation.at(delayMs / rate, this, fire),
    }
  }
}

export interface SimulatedMemberOptions {
  readonly id: string
  readonly rate: number
  readonly holder: Omit<PartitionHolderOptions<number>, 'driver' | 'host' | 'clock' | 'memberId' | 'random'>
  readonly driver: (process: SimulatedProcess) => GroupDriver<number>
  /** Chance that a handler takes longer than the handover may. */
  readonly stuck: number
}

/** A member with a reader that checks in which order it is called. */
export class SimulatedMember implements HolderHost<number> {
  readonly id: string
  readonly process: SimulatedProcess
  readonly holder: PartitionHolder<number>
  readonly rebalances: { assigned: readonly Partition[]; revoked: readonly Partition[] }[] = []
  readonly failures: string[] = []
  /** What the reader reads: position by partition. */
  readonly reading: Map<string, Claimed<number>> = new Map()
  readonly violations: string[] = []
  #simulation: GroupSimulation
  #stuck: number
  #handoverTimeoutMs: number

  constructor(simulation: GroupSimulation, options: SimulatedMemberOptions) {
    this.#simulation = simulation
    this.#stuck = options.stuck
    this.#handoverTimeoutMs = options.holder.handoverTimeoutMs
    this.id = options.id
    this.process = new SimulatedProcess(simulation, options.rate)
    this.holder = new PartitionHolder({
      ...options.holder,
      driver: options.driver(this.process),
      host: this,
      clock: this.process.clock,
      memberId: options.id,
      random: () => simulation.random.next(),
    })
    simulation.processes.push(this.process)
  }

  acquired(claimed: Claimed<number>): void {
    const key = `${claimed.topic}/${claimed.partition}`
    if (this.reading.has(key)) this.violations.push(`${this.id}: ${key} acquired twice`)
    this.reading.set(key, claimed)
  }

  revoke({ topic, partition }: Partition): Promise<number | undefined> {
    const key = `${topic}/${partition}`
    const reading = this.reading.get(key)
    if (reading === undefined) this.violations.push(`${this.id}: ${key} revoked without being held`)
    const { random } = this.#simulation
    const takesMs = this.#handoverTimeoutMs * (random.chance(this.#stuck) ? 3 : 0.5 * random.next())
    return new Promise((resolve) => {
      this.process.clock.setTimer(takesMs, () => {
        if (this.reading.get(key) === reading) this.reading.delete(key)
        resolve(reading?.position)
      })
    })
  }

  lost({ topic, partition }: Partition): void {
    const key = `${topic}/${partition}`
    if (!this.reading.delete(key)) this.violations.push(`${this.id}: ${key} lost without being held`)
  }

  failed(error: unknown): void {
    this.failures.push(String(error))
  }

  rebalanced(assigned: readonly Partition[], revoked: readonly Partition[]): void {
    this.rebalances.push({ assigned, revoked })
  }

  grown(topic: string, partitions: number): void {
    this.holder.consume(topic, partitions).catch((error: unknown) => this.failures.push(String(error)))
  }
}
