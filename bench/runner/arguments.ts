import { parseArgs } from 'node:util'
import { SUITE_NAMES } from '../suites/suite.ts'
import type { SuiteName } from '../suites/suite.ts'

export interface BenchArguments {
  readonly suites: readonly SuiteName[]
  readonly quick: boolean
  readonly json: boolean
  /** Substring of the names of the cases to run. */
  readonly only: string | undefined
  readonly profile: boolean
  readonly writeDocs: boolean
  readonly check: boolean
  /** Run the sources instead of the build. */
  readonly source: boolean
  readonly rounds: number | undefined
}

export const USAGE: string = `Usage: npm run bench -- SUITE... [options]
       npm run bench -- footprint [BROKER...]       what idle consumers cost
       npm run bench -- compare FOLDER              CPU time beside that of another version

Suites: ${SUITE_NAMES.join(' ')} (default: memory sqlite)

  --quick        3 short rounds instead of 5 long ones
  --case NAME    only cases whose name contains NAME
  --json         one JSON object for each case, a line each, and nothing else on standard output
  --rounds N     so many rounds
  --check        exit with 1 when a goal is missed
  --profile      run our side of the selected cases once under the CPU profiler and print where the time went
  --source       measure the TypeScript sources as they are, instead of the build in dist/
  --write-docs   put the figures into docs/reference/benchmarks.md; without a suite, those of the last full runs
`

export class UsageError extends Error {}

export function parseBenchArguments(argv: readonly string[]): BenchArguments {
  const { values, positionals } = parse(argv)
  const unknown = positionals.filter((name) => !(SUITE_NAMES as readonly string[]).includes(name))
  if (unknown.length > 0) throw new UsageError(`Unknown suite: ${unknown.join(', ')}`)
  const rounds = values.rounds === undefined ? undefined : Number(values.rounds)
  if (rounds !== undefined && !(Number.isInteger(rounds) && rounds > 0))
    throw new UsageError('--rounds takes a whole number from 1')
  const writeDocs = values['write-docs'] ?? false
  if (writeDocs && values.case !== undefined)
    throw new UsageError('--write-docs replaces the figures of whole suites and takes no --case')
  const named = SUITE_NAMES.filter((name) => positionals.includes(name))
  return {
    suites: named.length > 0 || writeDocs ? named : ['memory', 'sqlite'],
    quick: values.quick ?? false,
    json: values.json ?? false,
    only: values.case,
    profile: values.profile ?? false,
    writeDocs,
    check: values.check ?? false,
    source: values.source ?? false,
    rounds,
  }
}

function parse(argv: readonly string[]) {
  try {
    return parseArgs({
      args: [...argv],
      allowPositionals: true,
      options: {
        quick: { type: 'boolean' },
        json: { type: 'boolean' },
        case: { type: 'string' },
        rounds: { type: 'string' },
        profile: { type: 'boolean' },
        'write-docs': { type: 'boolean' },
        check: { type: 'boolean' },
        source: { type: 'boolean' },
      },
    })
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error))
  }
}
