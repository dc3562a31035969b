import { describe, expect, it } from 'vitest'
import type { KafkaError } from '../../../../src/kafka/errors.ts'
import type { SendManyError } from '../../../../src/kafka/producer/deliveries.ts'
import type { Producer } from '../../../../src/kafka/producer/producer.ts'
import { seedsOf } from '../schedules.ts'
import { nothingLeft, setUp, valuesOf } from './producer-setup.ts'
import type { Parts } from './producer-setup.ts'

const PARTITIONS = 3
const DELIVERY_TIMEOUT_MS = 4_000
const REQUEST_TIMEOUT_MS = 1_000
const MAX_BUFFERED_BYTES = 262_144

type Outcomes = Map<number, 'confirmed' | KafkaError['outcome']>

class RandomRun {
  readonly violations: string[] = []
  readonly #parts: Parts
  readonly #outcomes: Outcomes = new Map()
  #next = 0

  constructor(seed: number) {
    const compression = (['none', 'none', 'lz4', 'snappy'] as const)[seed % 4] ?? 'none'
    this.#parts = setUp(
      {
        batchBytes: 8_192,
        maxBufferedBytes: MAX_BUFFERED_BYTES,
        deliveryTimeoutMs: DELIVERY_TIMEOUT_MS,
        ackTimeoutMs: 500,
        lingerMs: seed % 3 === 0 ? 5 : 0,
        compression,
      },
      { sim: { seed }, cluster: { requestTimeoutMs: REQUEST_TIMEOUT_MS }, partitions: PARTITIONS },
    )
    this.#parts.sim.topic('t').maxMessageBytes = 6_000
  }

  async run(): Promise<void> {
    const { sim } = this.#parts
    const { random } = sim
    for (let step = 0; step < 40; step++) {
      this.#fault()
      for (let calls = random.below(12); calls > 0; calls--) this.#send()
      await sim.advance(random.chance(0.2) ? random.between(100, 2_000) : random.between(0, 30))
      if (this.#parts.producer.bufferedBytes > MAX_BUFFERED_BYTES + 16_384) this.violations.push('K5: too much memory')
    }
    sim.script.clear()
    await sim.advance(DELIVERY_TIMEOUT_MS + REQUEST_TIMEOUT_MS + 10_000)
    const last = Array.from({ length: PARTITIONS }, (_, partition) => this.#send(partition))
    await sim.advance(10_000)
    for (const id of last) {
      if (this.#outcomes.get(id) !== 'confirmed') this.violations.push(`K10: ${id} is ${this.#outcomes.get(id)}`)
    }
    await this.#check()
  }

  #send(at?: number): number {
    const { sim, producer } = this.#parts
    const { random } = sim
    const partition = at ?? random.below(PARTITIONS)
    const count = at !== undefined || random.chance(0.5) ? 1 : 1 + random.below(40)
    const first = this.#next
    this.#next += count
    const ids = Array.from({ length: count }, (_, index) => first + index)
    const records = ids.map((id) => ({ value: `${id}:`.padEnd(random.below(400), '.'), partition }))
    const deadline = sim.clock.now() + DELIVERY_TIMEOUT_MS + 2 * REQUEST_TIMEOUT_MS
    const settled = (index: number, outcome: 'confirmed' | KafkaError['outcome']) => {
      const id = ids[index] ?? -1
      if (this.#outcomes.has(id)) this.violations.push(`K3: ${id} settles twice`)
      if (sim.clock.now() > deadline) this.violations.push(`K3: ${id} settles late`)
      this.#outcomes.set(id, outcome)
    }
    void this.#sendAll(producer, records, settled)
    return first
  }

  async #sendAll(
    producer: Producer,
    records: readonly { readonly value: string; readonly partition: number }[],
    settled: (index: number, outcome: 'confirmed' | KafkaError['outcome']) => void,
  ): Promise<void> {
    const [single] = records
    const failed = new Map<number, KafkaError['outcome']>()
    try {
      if (records.length === 1 && single !== undefined) await producer.send({ topic: 't', ...single })
      else await producer.sendMany('t', records)
    } catch (error) {
      const { failures, outcome } = error as SendManyError
      for (const failure of failures ?? [{ index: 0, error: { outcome } }])
        failed.set(failure.index, failure.error.outcome)
    }
    for (const index of records.keys()) settled(index, failed.get(index) ?? 'confirmed')
  }

  #fault(): void {
    const { sim } = this.#parts
    const { random } = sim
    const broker = 1 + random.below(3)
    if (random.chance(0.3)) {
      const what = random.pick(['closeAfter', 'close', 'dropAnswer', 'drop', 'split'] as const)
      sim.script.on('Produce', 1 + random.below(4), { do: what })
    }
    if (random.chance(0.2)) {
      const what = random.pick(['error', 'errorAfter'] as const)
      const code = what === 'error' ? random.pick([19, 6, 5, 2]) : random.pick([7, 20])
      sim.script.on('Produce', 1 + random.below(4), { do: what, code })
    }
    if (random.chance(0.05)) sim.script.on('Produce', 1, { do: 'throttle', ms: 10 + random.below(1_000) })
    if (random.chance(0.1)) sim.moveLeader('t', random.below(PARTITIONS), broker)
    if (random.chance(0.03)) void sim.freeze(broker, random.between(100, 3_000))
    if (random.chance(0.03) && sim.broker(broker).isUp) {
      sim.kill(broker)
      sim.clock.setTimer(() => sim.start(broker), random.between(100, 2_000))
    }
  }

  async #check(): Promise<void> {
    const { sim } = this.#parts
    const count = new Map<number, number>()
    for (let partition = 0; partition < PARTITIONS; partition++) {
      let last = -1
      for (const value of await valuesOf(sim, partition)) {
        const id = Number.parseInt(value ?? '', 10)
        count.set(id, (count.get(id) ?? 0) + 1)
        if (id <= last) this.violations.push(`K2: ${id} is behind ${last}`)
        last = id
      }
    }
    for (let id = 0; id < this.#next; id++) {
      const outcome = this.#outcomes.get(id)
      const times = count.get(id) ?? 0
      if (outcome === undefined) this.violations.push(`K3: ${id} never settles`)
      if (outcome === 'confirmed' && times !== 1)
        this.violations.push(`K1: ${id} is confirmed, and ${times} times there`)
      if (times > 1) this.violations.push(`K1: ${id} is ${times} times there`)
      if ((outcome === 'not-sent' || outcome === 'rejected') && times > 0)
        this.violations.push(`${id} is ${outcome}, and there`)
    }
    if (this.#parts.producer.bufferedBytes > 0)
      this.violations.push(`K5: ${this.#parts.producer.bufferedBytes} bytes are kept`)
    const left = await nothingLeft(this.#parts)
    if (left.join() !== '0,0') this.violations.push(`K12: left: ${left.join()}`)
  }
}

describe('a producer on the simulated cluster', () => {
  it('keeps K1 to K5, K10 and K12 over random schedules of faults', { timeout: 7_200_000 }, async () => {
    for (const seed of seedsOf('producer')) {
      const run = new RandomRun(seed)
      await run.run()
      expect(run.violations.map((violation) => `seed ${seed}: ${violation}`)).toEqual([])
    }
  })
})
