import type { CaseArguments } from './case-arguments.ts'
import type { CaseOutput } from './case-output.ts'

/** Tells a running case when to stop sending. Reads the clock only now and then: it is asked for every message. */
export class Deadline {
  readonly #at: number
  #asked = 0
  #passed = false

  constructor(durationMs: number) {
    this.#at = performance.now() + durationMs
  }

  /** For loops that come round once for each batch. */
  get passed(): boolean {
    if (!this.#passed) this.#passed = performance.now() >= this.#at
    return this.#passed
  }

  /** For loops that come round once for each message. */
  get passedRoughly(): boolean {
    return (++this.#asked & 63) === 0 ? this.passed : this.#passed
  }
}

export function peakRssMb(): number {
  return process.resourceUsage().maxRSS / 1024
}

/** Times `work` once, with the CPU that this process spent on it. It resolves with the number of messages. */
export async function measure(work: () => Promise<number>): Promise<CaseOutput> {
  const cpu = process.cpuUsage()
  const start = performance.now()
  const messages = await work()
  const seconds = (performance.now() - start) / 1000
  const spent = process.cpuUsage(cpu)
  return { messages, seconds, cpuMicros: spent.user + spent.system, rssMb: peakRssMb() }
}

/**
 * Warms up, then measures: `work` sends until its deadline has passed, waits until all of it is done, and resolves with how
 * many messages that were.
 */
export async function measureRate(
  { warmupMs, measureMs }: CaseArguments,
  work: (deadline: Deadline) => Promise<number>,
): Promise<CaseOutput> {
  await work(new Deadline(warmupMs))
  return measure(() => work(new Deadline(measureMs)))
}
