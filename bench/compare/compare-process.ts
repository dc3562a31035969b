import { median } from '../harness/median.ts'
import type { LoadName } from './load.ts'
import type * as LoadModule from './load.ts'

// Runs one load on two trees in turn, in one process: what else the machine does disturbs both alike.

/** What a load costs in each tree, in ns of CPU time a message. */
export interface Comparison {
  readonly thenNs: number
  readonly nowNs: number
  /** Median of the ratios of neighbouring rounds. */
  readonly ratio: number
}

const [then = '', now = '', name = '', rounds = '', messages = ''] = process.argv.slice(2)
const count = Number(messages)
const WARM_UP_ROUNDS = 12

async function open(tree: string, as: string): Promise<LoadModule.Load> {
  const { openLoad } = (await import(`./load.ts?${as}`)) as typeof LoadModule
  return openLoad(tree, name as LoadName)
}

/** Of the main thread where Node can say so: the threads of the garbage collector also wait for their turn. */
function cpuNs(): number {
  const { user, system } = process.threadCpuUsage?.() ?? process.cpuUsage()
  return (user + system) * 1_000
}

async function measure(load: LoadModule.Load): Promise<number> {
  const before = cpuNs()
  await load.run(count)
  return (cpuNs() - before) / count
}

const loads = [await open(then, 'then'), await open(now, 'now')] as const
for (let round = 0; round < WARM_UP_ROUNDS; round++) for (const load of loads) await load.run(count)
const costs: [number, number][] = []
for (let round = 0; round < Number(rounds); round++) {
  const first = round % 2
  const cost: [number, number] = [0, 0]
  for (const at of [first, 1 - first] as const) cost[at as 0 | 1] = await measure(loads[at as 0 | 1])
  costs.push(cost)
}
for (const load of loads) await load.close()
const comparison: Comparison = {
  thenNs: median(costs.map(([ns]) => ns)),
  nowNs: median(costs.map(([, ns]) => ns)),
  ratio: median(costs.map(([thenNs, nowNs]) => nowNs / thenNs)),
}
process.stdout.write(`${JSON.stringify(comparison)}\n`)
