import { ConsumerProcess } from './consumer-process.ts'
import type { ConsumerTask } from './consumer-process.ts'
import type { Meter } from './meter.ts'
import { processFigures } from './process-figures.ts'

/** One line of the table. */
export interface Footprint {
  readonly who: string
  readonly topics: number
  readonly groups: number
  readonly startSeconds: number
  readonly objects: Readonly<Record<string, number>>
  readonly connections: number
  /** Growth of the broker's counters in a second. */
  readonly rates: Readonly<Record<string, number>>
  readonly clientCpuPercent: number
  readonly clientRssMb: number
  readonly serverCpuPercent: number
  readonly serverRssMb: number
}

/** Joins, first reads and notices are over by then. */
const SETTLE_MS = 5_000

/** Starts consumers on a broker of their own, and watches them wait. */
export async function measureFootprint(
  who: string,
  brokerPid: number,
  meter: Meter,
  consumers: { readonly file: string; readonly task: ConsumerTask; readonly source: boolean },
  seconds: number,
): Promise<Footprint> {
  const { file, task, source } = consumers
  await using child = await ConsumerProcess.start(file, task, source)
  await wait(SETTLE_MS)
  const look = async () => ({
    reading: await meter.read(),
    client: processFigures(child.pid),
    server: processFigures(brokerPid),
    at: performance.now(),
  })
  const before = await look()
  await wait(seconds * 1_000)
  const after = await look()
  const elapsedMs = after.at - before.at
  const percent = (from: number, to: number): number => ((to - from) * 100) / elapsedMs
  const rates = Object.entries(after.reading.counters).map(([name, value]) => {
    const growth = value - (before.reading.counters[name] ?? 0)
    return [name, (growth * 1_000) / elapsedMs] as const
  })
  return {
    who,
    topics: task.topics,
    groups: task.groups,
    startSeconds: child.startMs / 1_000,
    objects: after.reading.objects,
    connections: after.reading.connections,
    rates: Object.fromEntries(rates),
    clientCpuPercent: percent(before.client.cpuMs, after.client.cpuMs),
    clientRssMb: after.client.rssMb,
    serverCpuPercent: percent(before.server.cpuMs, after.server.cpuMs),
    serverRssMb: after.server.rssMb,
  }
}

function wait(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms)
  })
}
