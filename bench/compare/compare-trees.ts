import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { median } from '../harness/median.ts'
import { BENCH_FOLDER } from '../runner/folders.ts'
import type { RoundCost } from './compare-process.ts'
import type { LoadName } from './load.ts'

const WARM_UP_ROUNDS = 12

/** What a load costs in each tree, in ns of CPU time a message. */
export interface Comparison {
  readonly before: RoundCost
  readonly now: RoundCost
  /** Median of the ratios of neighbouring rounds. */
  readonly ratio: RoundCost
}

export interface CompareOptions {
  readonly rounds: number
  /** In each round. */
  readonly messages: number
}

/**
 * Runs one load on two trees, each in a process of its own, in turn: what else the machine does disturbs both alike, and
 * neither is compiled for the other, or collects its garbage.
 */
export async function compareTrees(
  trees: readonly [before: string, now: string],
  name: LoadName,
  { rounds, messages }: CompareOptions,
): Promise<Comparison> {
  const [before, now] = await Promise.all([open(trees[0], name, messages), open(trees[1], name, messages)])
  for (let count = 0; count < WARM_UP_ROUNDS; count++) for (const child of [before, now]) await round(child)
  const costs: { readonly before: RoundCost; readonly now: RoundCost }[] = []
  for (let count = 0; count < rounds; count++) {
    if (count % 2 === 0) costs.push({ before: await round(before), now: await round(now) })
    else {
      const cost = await round(now)
      costs.push({ before: await round(before), now: cost })
    }
  }
  for (const child of [before, now]) child.disconnect()
  await Promise.all([once(before, 'exit'), once(now, 'exit')])
  return {
    before: medianCost(costs.map((cost) => cost.before)),
    now: medianCost(costs.map((cost) => cost.now)),
    ratio: medianCost(costs.map((cost) => ratioOf(cost.now, cost.before))),
  }
}

async function open(tree: string, name: LoadName, messages: number): Promise<ChildProcess> {
  const child = fork(join(BENCH_FOLDER, 'compare/compare-process.ts'), [tree, name, String(messages)], {
    execArgv: ['--conditions=busbar-source', '--disable-warning=ExperimentalWarning'],
  })
  await answer(child)
  return child
}

async function round(child: ChildProcess): Promise<RoundCost> {
  child.send('round')
  return (await answer(child)) as RoundCost
}

/** The next message of the process. Rejects when it ends instead. */
function answer(child: ChildProcess): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const onExit = (code: number | null): void => reject(new Error(`A process of the comparison ended (${code})`))
    child.once('exit', onExit)
    child.once('message', (message) => {
      child.off('exit', onExit)
      resolve(message)
    })
  })
}

function ratioOf(now: RoundCost, before: RoundCost): RoundCost {
  return { mainThread: now.mainThread / before.mainThread, process: now.process / before.process }
}

export function medianCost(costs: readonly RoundCost[]): RoundCost {
  return {
    mainThread: median(costs.map(({ mainThread }) => mainThread)),
    process: median(costs.map((cost) => cost.process)),
  }
}
