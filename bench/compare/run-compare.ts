import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { parseArgs, promisify } from 'node:util'
import { UsageError } from '../runner/arguments.ts'
import { BENCH_FOLDER, PROJECT_FOLDER } from '../runner/folders.ts'
import { textTable } from '../runner/text-table.ts'
import type { Comparison } from './compare-process.ts'
import { LOAD_NAMES } from './load.ts'

export const COMPARE_USAGE: string = `Usage: npm run bench -- compare FOLDER [options]

CPU time a message, of these sources and of those in FOLDER, such as a worktree of an older commit:

  git worktree add --detach ../then f1b03de && npm run bench -- compare ../then

Loads: ${LOAD_NAMES.join(' ')}

  --case NAME    only loads whose name contains NAME
  --rounds N     so many rounds of each tree, default 100
  --messages N   so many messages a round, a multiple of 1,000, default 20000
`

const run = promisify(execFile)

export async function runCompare(argv: readonly string[]): Promise<number> {
  const { folder, names, rounds, messages } = parse(argv)
  const rows = [['', 'then ns', 'now ns', 'now / then']]
  for (const name of names) {
    const file = join(BENCH_FOLDER, 'compare/compare-process.ts')
    const args = ['--conditions=busbar-source', '--disable-warning=ExperimentalWarning', file]
    const { stdout } = await run(process.execPath, [...args, folder, PROJECT_FOLDER, name, rounds, messages])
    const { thenNs, nowNs, ratio } = JSON.parse(stdout) as Comparison
    rows.push([name, thenNs.toFixed(0), nowNs.toFixed(0), ratio.toFixed(2)])
    process.stderr.write(`${name}: ${ratio.toFixed(2)}\n`)
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
  for (const [option, text] of Object.entries({ rounds: values.rounds, messages: values.messages }))
    if (!(Number.isInteger(Number(text)) && Number(text) > 0))
      throw new UsageError(`--${option} takes a whole number from 1`)
  return { folder, names, rounds: values.rounds, messages: values.messages }
}

function parsed(argv: readonly string[]) {
  try {
    return parseArgs({
      args: [...argv],
      allowPositionals: true,
      options: {
        case: { type: 'string', default: '' },
        rounds: { type: 'string', default: '100' },
        messages: { type: 'string', default: '20000' },
      },
    })
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error))
  }
}
