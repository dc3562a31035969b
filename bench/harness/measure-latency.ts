import type { CaseArguments } from './case-arguments.ts'
import type { CaseOutput } from './case-output.ts'
import { peakRssMb } from './measure-rate.ts'

const RATE_PER_SECOND = 1_000
/** How late a timer of Node may be on an idle event loop: this much of a delay is not the subject's. */
const TIMER_MS = 2
/** A lost message must end the case, not hang it. */
const GRACE_MS = 5_000

/** Hands a probe its own index, to be given back to `LatencyRun.arrived` where it is handled. */
export type SendProbe = (index: number) => void

export class LatencyRun {
  readonly #sentAt: Float64Array
  readonly #tookMs: Float64Array
  readonly #allArrived: () => void
  readonly finished: Promise<void>
  #arrived = 0

  constructor(count: number) {
    this.#sentAt = new Float64Array(count)
    this.#tookMs = new Float64Array(count).fill(-1)
    const { promise, resolve } = Promise.withResolvers<void>()
    this.finished = promise
    this.#allArrived = resolve
  }

  get arrivedCount(): number {
    return this.#arrived
  }

  /** The latency counts from the call, or from when it was due if the subject had blocked the event loop until then. */
  sent(index: number, dueAt: number): void {
    this.#sentAt[index] = Math.min(performance.now(), dueAt + TIMER_MS)
  }

  arrived(index: number): void {
    if (this.#tookMs[index] !== -1) return
    this.#tookMs[index] = performance.now() - (this.#sentAt[index] ?? NaN)
    if (++this.#arrived === this.#tookMs.length) this.#allArrived()
  }

  /** Sorted latencies, those of the first `skip` messages left out. */
  sorted(skip: number): Float64Array {
    return this.#tookMs.slice(skip).sort()
  }
}

function quantile(sorted: Float64Array, share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN
}

/**
 * 1,000 messages a second from publish call to handler, the first second left out. A message that a blocked event loop sends
 * late has waited since it was due; up to two milliseconds of that are a timer's, and don't count.
 */
export async function measureLatency(
  { measureMs }: Pick<CaseArguments, 'measureMs'>,
  subject: (run: LatencyRun) => Promise<SendProbe>,
): Promise<CaseOutput> {
  const skip = RATE_PER_SECOND
  const count = skip + Math.round((measureMs / 1000) * RATE_PER_SECOND)
  const run = new LatencyRun(count)
  const send = await subject(run)
  const cpu = process.cpuUsage()
  const start = performance.now()
  await paced(count, (index, dueAt) => {
    run.sent(index, dueAt)
    send(index)
  })
  await Promise.race([run.finished, grace()])
  const spent = process.cpuUsage(cpu)
  if (run.arrivedCount < count) throw new Error(`only ${run.arrivedCount} of ${count} messages arrived`)
  const sorted = run.sorted(skip)
  return {
    messages: count,
    seconds: (performance.now() - start) / 1000,
    cpuMicros: spent.user + spent.system,
    rssMb: peakRssMb(),
    extra: {
      p50Ms: quantile(sorted, 0.5),
      p99Ms: quantile(sorted, 0.99),
      maxMs: sorted.at(-1) ?? NaN,
    },
  }
}

function grace(): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, GRACE_MS).unref()
  })
}

/** Calls `send` 1,000 times a second. What a late timer missed is sent at once, so that the rate holds. */
function paced(count: number, send: (index: number, dueAt: number) => void): Promise<void> {
  return new Promise((resolve) => {
    const start = performance.now()
    let next = 0
    const timer = setInterval(() => {
      const due = Math.min(count, Math.floor(((performance.now() - start) / 1000) * RATE_PER_SECOND))
      for (; next < due; next++) send(next, start + ((next + 1) / RATE_PER_SECOND) * 1000)
      if (next < count) return
      clearInterval(timer)
      resolve()
    }, 1)
  })
}
