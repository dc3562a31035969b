import { setTimeout as delay } from 'node:timers/promises'
import { kafkaBacklog, KAFKA_TOPICS } from '../kafka/topics.ts'
import type { CaseArguments } from './case-arguments.ts'
import type { CaseOutput } from './case-output.ts'
import { measureLatency } from './measure-latency.ts'
import { measureRate, peakRssMb } from './measure-rate.ts'

/** Writes values to one topic; a promise resolves when all replicas have them. */
export interface KafkaWriter {
  sendMany(values: readonly Buffer[]): Promise<unknown>
  send(value: Buffer): Promise<unknown>
  close(): Promise<void>
}

/** A client library for Kafka, driven as its documentation advises for speed. */
export interface KafkaPeer {
  writer(broker: string, topic: string): Promise<KafkaWriter>
  /** Reads a topic from its start, as the only member of the group, until the result is called. */
  read(broker: string, topic: string, group: string, handle: (value: Uint8Array) => void): Promise<() => Promise<void>>
}

/** Until an idle consumer has its partitions, and its start no longer counts. */
const SETTLING_MS = 5_000
const IDLE_MS = 10_000
/** Read before the clock starts. */
const WARM_UP_SHARE = 1 / 6

/**
 * Runs one mode: `produce` (arrays, several at a time), `single` (one record for each call), `consume` (a filled topic, for as long as it
 * lasts), `latency` (1,000 records a second, until they are confirmed), `idle` (a member of a group with nothing to read).
 */
export function measureKafka(args: CaseArguments, peer: KafkaPeer, broker: string): Promise<CaseOutput> {
  const mode = args.option('mode', 'produce')
  switch (mode) {
    case 'produce':
      return produceRate(args, peer, broker)
    case 'single':
      return singleRate(args, peer, broker)
    case 'consume':
      return consumeRate(args, peer, broker)
    case 'latency':
      return latency(args, peer, broker)
    case 'idle':
      return idle(peer, broker)
    default:
      throw new Error(`unknown mode ${mode}`)
  }
}

function valuesOf(args: CaseArguments): readonly Buffer[] {
  const bytes = args.number('bytes', 100)
  return Array.from({ length: args.number('count', 1_000) }, () => Buffer.alloc(bytes, 'x'))
}

/** `outstanding` loops side by side, each with its next call when the last is confirmed. */
async function sideBySide(outstanding: number, isOver: () => boolean, call: () => Promise<number>): Promise<number> {
  let sent = 0
  const loop = async (): Promise<void> => {
    while (!isOver()) {
      const count = await call()
      sent += count
    }
  }
  await Promise.all(Array.from({ length: outstanding }, loop))
  return sent
}

async function produceRate(args: CaseArguments, peer: KafkaPeer, broker: string): Promise<CaseOutput> {
  const writer = await peer.writer(broker, KAFKA_TOPICS.sink)
  const values = valuesOf(args)
  const outstanding = args.number('outstanding', 8)
  const output = await measureRate(args, (deadline) =>
    sideBySide(
      outstanding,
      () => deadline.passed,
      async () => {
        await writer.sendMany(values)
        return values.length
      },
    ),
  )
  await writer.close()
  return output
}

async function singleRate(args: CaseArguments, peer: KafkaPeer, broker: string): Promise<CaseOutput> {
  const writer = await peer.writer(broker, KAFKA_TOPICS.sink)
  const value = Buffer.alloc(args.number('bytes', 100), 'x')
  const outstanding = args.number('outstanding', 1_000)
  const output = await measureRate(args, (deadline) =>
    sideBySide(
      outstanding,
      () => deadline.passedRoughly,
      async () => {
        await writer.send(value)
        return 1
      },
    ),
  )
  await writer.close()
  return output
}

async function consumeRate(args: CaseArguments, peer: KafkaPeer, broker: string): Promise<CaseOutput> {
  const bytes = args.number('bytes', 100)
  const { topic, records } = kafkaBacklog(bytes)
  const warmUp = Math.floor(records * WARM_UP_SHARE)
  const counter = new ReadCounter(warmUp, records, args.measureMs)
  const stop = await peer.read(broker, topic, `bench-${process.pid}`, (value) => counter.count(value))
  const output = await counter.finished
  await stop()
  return output
}

/** Counts records from the end of the warm-up until the last one, or until the time is over. */
class ReadCounter {
  readonly #from: number
  readonly #to: number
  readonly #limitMs: number
  readonly #finished = Promise.withResolvers<CaseOutput>()
  #count = 0
  #bytes = 0
  #start = 0
  #cpu: NodeJS.CpuUsage | undefined

  constructor(from: number, to: number, limitMs: number) {
    this.#from = from
    this.#to = to
    this.#limitMs = limitMs
  }

  get finished(): Promise<CaseOutput> {
    return this.#finished.promise
  }

  count(value: Uint8Array): void {
    this.#bytes += value.length
    if (++this.#count === this.#from) {
      this.#start = performance.now()
      this.#cpu = process.cpuUsage()
    } else if (this.#count === this.#to) this.#end()
    else if ((this.#count & 1_023) === 0 && performance.now() - this.#start > this.#limitMs) this.#end()
  }

  #end(): void {
    if (this.#cpu === undefined) return
    const spent = process.cpuUsage(this.#cpu)
    if (this.#bytes === 0) throw new Error('the records have no values')
    this.#finished.resolve({
      messages: this.#count - this.#from,
      seconds: (performance.now() - this.#start) / 1_000,
      cpuMicros: spent.user + spent.system,
      rssMb: peakRssMb(),
    })
  }
}

async function latency(args: CaseArguments, peer: KafkaPeer, broker: string): Promise<CaseOutput> {
  const writer = await peer.writer(broker, KAFKA_TOPICS.sink)
  const value = Buffer.alloc(args.number('bytes', 100), 'x')
  const failures: unknown[] = []
  const output = await measureLatency(args, async (run) => (index) => {
    writer.send(value).then(
      () => run.arrived(index),
      (error: unknown) => failures.push(error),
    )
  })
  if (failures.length > 0) throw failures[0]
  await writer.close()
  return output
}

async function idle(peer: KafkaPeer, broker: string): Promise<CaseOutput> {
  const stop = await peer.read(broker, KAFKA_TOPICS.idle, `bench-${process.pid}`, () => {})
  await delay(SETTLING_MS)
  const cpu = process.cpuUsage()
  const start = performance.now()
  await delay(IDLE_MS)
  const spent = process.cpuUsage(cpu)
  const seconds = (performance.now() - start) / 1_000
  const output = { messages: 1, seconds, cpuMicros: spent.user + spent.system, rssMb: peakRssMb() }
  await stop()
  return { ...output, extra: { cpuPercent: output.cpuMicros / 10_000 / seconds } }
}
