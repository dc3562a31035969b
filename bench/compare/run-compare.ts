import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { UsageError } from '../runner/arguments.ts'
import { PROJECT_FOLDER } from '../runner/folders.ts'
import { textTable } from '../runner/text-table.ts'
import type { RoundCost } from './compare-process.ts'
import { compareTrees, medianCost } from './compare-trees.ts'
import type { Comparison } from './compare-trees.ts'
import { LOAD_NAMES } from './load.ts'

export const COMPARE_USAGE: string = `Usage: npm run bench -- compare FOLDER [options]

CPU time a message, of the main thread and of the whole process, of these sources and of those in FOLDER, such as a worktree
of an older commit:

  git worktree add --detach ../then f1b03de && npm run bench -- compare ../then

Loads: ${LOAD_NAMES.join(' ')}

  --case NAME    only loads whose name contains NAME
  --rounds N     so many rounds in each process, default 40
  --processes N  so many processes of each tree, because each is compiled differently, default 5
  --messages N   so many messages a round, a multiple of 1,000, default 20000
`

export async function runCompare(argv: readonly string[]): Promise<number> {
  const { folder, names, processes, ...options } = parse(argv)
  const rows = [['', 'main thread', 'now', 'ratio', 'min to max', 'whole process', 'now', 'ratio', 'min to max']]
  for (const name of names) {
    const found: Comparison[] = []
    for (let count = 0; count < processes; count++)
      found.push(await compareTrees([folder, PROJECT_FOLDER], name, options))
    const before = medianCost(found.map((comparison) => comparison.before))
    const now = medianCost(found.map((comparison) => comparison.now))
    const ratio = medianCost(found.map((comparison) => comparison.ratio))
    const cells = (of: keyof RoundCost): string[] => {
      const ratios = found.map((comparison) => comparison.ratio[of])
      const spread = `${Math.min(...ratios).toFixed(2)} to ${Math.max(...ratios).toFixed(2)}`
      return [before[of].toFixed(0), now[of].toFixed(0), ratio[of].toFixed(2), spread]
    }
    rows.push([name, ...cells('mainThread'), ...cells('process')])
    process.stderr.write(`${name}: ${ratio.mainThread.toFixed(2)}, process ${ratio.process.toFixed(2)}\n`)
  }
  process.stdout.write(`${textTable(rows, new Set([0]))}\n`)
  return 0
}

function parse(argv: readonly string[]) {
  const { values, positionals } = parsed(argv)
  const [given, ...more] = positionals
  if (given === undefined || more.length > 0) throw new UsageError('compare takes one folder')
  const folder = resolve(given)
  if (!existsSync(join(folder, 'src/index.ts'))) throw new UsageError(`There is no src/index.ts in ${folder}`)
  const names = LOAD_NAMES.filter((name) => name.includes(values.case))
  if (names.length === 0) throw new UsageError(`No load has "${values.case}" in its name`)
  const { rounds, processes, messages } = values
  for (const [option, text] of Object.entries({ rounds, processes, messages }))
    if (!(Number.isInteger(Number(text)) && Number(text) > 0))
      throw new UsageError(`--${option} takes a whole number from 1`)
  return { folder, names, rounds: Number(rounds), processes: Number(processes), messages: Number(messages) }
}

function parsed(argv: readonly string[]) {
  try {
    return parseArgs({
      args: [...argv],
      allowPositionals: true,
      options: {
        case: { type: 'string', default: '' },
        rounds: { type: 'string', default: '40' },
        processes: { type: 'string', default: '5' },
        messages: { type: 'string', default: '20000' },
      },
    })
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error))
  }
}
