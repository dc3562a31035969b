import { ConsumerProcess } from './consumer-process.ts'
import type { ConsumerTask } from './consumer-process.ts'
import type { HandOver } from './hand-over.ts'
import type { Meter } from './meter.ts'
import { processFigures } from './process-figures.ts'

/** One line of the table. */
export interface Footprint {
  readonly who: string
  readonly task: Pick<ConsumerTask, 'topics' | 'groups' | 'members' | 'keys' | 'options'>
  readonly startSeconds: number
  /** Growth of the broker's counters until the consumers had started, and had calmed down. */
  readonly started: Readonly<Record<string, number>>
  readonly objects: Readonly<Record<string, number>>
  readonly connections: number
  /** Growth of the broker's counters in a second. */
  readonly rates: Readonly<Record<string, number>>
  readonly clientCpuPercent: number
  readonly clientRssMb: number
  readonly serverCpuPercent: number
  readonly serverRssMb: number
  /** Only of groups with several members, and only ours. */
  readonly handOver: HandOver | undefined
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
  const empty = await meter.read()
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
  const handOver = who === 'busbar' && task.members > 1 ? await child.handOver() : undefined
  const elapsedMs = after.at - before.at
  const percent = (from: number, to: number): number => ((to - from) * 100) / elapsedMs
  const grown = (
    from: Readonly<Record<string, number>>,
    to: Readonly<Record<string, number>>,
  ): readonly (readonly [string, number])[] =>
    Object.entries(to).map(([name, value]) => [name, value - (from[name] ?? 0)])
  const rates = grown(before.reading.counters, after.reading.counters).map(([name, growth]) => [
    name,
    (growth * 1_000) / elapsedMs,
  ])
  return {
    who,
    task,
    startSeconds: child.startMs / 1_000,
    started: Object.fromEntries(grown(empty.counters, before.reading.counters)),
    objects: after.reading.objects,
    connections: after.reading.connections,
    rates: Object.fromEntries(rates) as Record<string, number>,
    clientCpuPercent: percent(before.client.cpuMs, after.client.cpuMs),
    clientRssMb: after.client.rssMb,
    serverCpuPercent: percent(before.server.cpuMs, after.server.cpuMs),
    serverRssMb: after.server.rssMb,
    handOver,
  }
}

function wait(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms)
  })
}
