import { openLoad } from './load.ts'
import type { LoadName } from './load.ts'

// Runs one load on one tree, a round for each message from the parent, and answers with what the round cost.

/** CPU time of one round, in ns a message. */
export interface RoundCost {
  readonly mainThread: number
  /** With the threads of the garbage collector, of the compiler and of a transport. */
  readonly process: number
}

const [tree = '', name = '', messages = ''] = process.argv.slice(2)
const count = Number(messages)
const load = await openLoad(tree, name as LoadName)

process.on('message', () => void round())
process.on('disconnect', () => void load.close())
process.send?.('ready')

async function round(): Promise<void> {
  const [thread, whole] = [process.threadCpuUsage(), process.cpuUsage()]
  await load.run(count)
  const cost: RoundCost = {
    mainThread: nsOf(process.threadCpuUsage(thread)) / count,
    process: nsOf(process.cpuUsage(whole)) / count,
  }
  process.send?.(cost)
}

function nsOf({ user, system }: NodeJS.CpuUsage): number {
  return (user + system) * 1_000
}
