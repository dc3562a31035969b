import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { COMPARE_USAGE, runCompare } from './compare/run-compare.ts'
import { FOOTPRINT_USAGE } from './footprint/arguments.ts'
import { runFootprint } from './footprint/run-footprint.ts'
import { parseBenchArguments, USAGE, UsageError } from './runner/arguments.ts'
import type { BenchArguments } from './runner/arguments.ts'
import { toCaseRecord } from './runner/case-record.ts'
import type { CaseRecord } from './runner/case-record.ts'
import { ensureBuild } from './runner/ensure-build.ts'
import { ensurePeers, peerVersions } from './runner/ensure-peers.ts'
import { BENCH_FOLDER, PROJECT_FOLDER } from './runner/folders.ts'
import { describeMachine } from './runner/machine.ts'
import { profileCase } from './runner/profile.ts'
import { roundRobin } from './runner/round-robin.ts'
import { NpmFailure } from './runner/run-npm.ts'
import { runSubject } from './runner/run-subject.ts'
import type { RunLength } from './runner/run-subject.ts'
import { startServices } from './runner/services.ts'
import type { Services } from './runner/services.ts'
import { readSuiteRecord, saveSuiteRecord } from './runner/suite-record.ts'
import type { SuiteRecord } from './runner/suite-record.ts'
import { textReport } from './runner/text-report.ts'
import { writeDocs } from './runner/write-docs.ts'
import { SUITES } from './suites/all-suites.ts'
import { SUITE_NAMES } from './suites/suite.ts'
import type { BenchCase, ServiceName, Subject, Suite } from './suites/suite.ts'

const LONG: RunLength = { warmupMs: 1_000, measureMs: 3_000, messages: 200_000 }
const SHORT: RunLength = { warmupMs: 500, measureMs: 1_000, messages: 50_000 }
/** Under the profiler: long enough for start and warm-up to drown. */
const PROFILED: RunLength = { warmupMs: 100, measureMs: 6_000, messages: 400_000 }
const LONG_ROUNDS = 5
const SHORT_ROUNDS = 3

interface Manifest {
  readonly version: string
  readonly exports: Readonly<Record<string, unknown>>
}

const manifest = JSON.parse(readFileSync(join(PROJECT_FOLDER, 'package.json'), 'utf8')) as Manifest

const [first, ...rest] = process.argv.slice(2)
try {
  process.exitCode = await runNamed()
} catch (error) {
  if (error instanceof UsageError) {
    const usages: Readonly<Record<string, string>> = { footprint: FOOTPRINT_USAGE, compare: COMPARE_USAGE }
    process.stderr.write(`${error.message}\n\n${usages[first ?? ''] ?? USAGE}`)
    process.exitCode = 2
  } else if (error instanceof NpmFailure) {
    process.stderr.write(`${error.message}; see above.\n`)
    process.exitCode = 1
  } else throw error
}

function runNamed(): Promise<number> {
  if (first === 'footprint') return runFootprint(rest)
  if (first === 'compare') return runCompare(rest)
  return main(parseBenchArguments(process.argv.slice(2)))
}

async function main(args: BenchArguments): Promise<number> {
  if (args.suites.length === 0) return writeDocsFromReports()
  const suites = selectCases(args)
  if (suites.every((suite) => suite.cases.length === 0)) {
    process.stderr.write(`No case of ${args.suites.join(', ')} has "${args.only}" in its name.\n`)
    return 2
  }
  if (!args.source) await ensureBuild()
  await using services = await startServices(
    servicesOf(suites, args.profile),
    suites.map(({ name }) => name),
  )
  return args.profile ? await profile(suites, args, services) : await measure(suites, args, services)
}

function selectCases(args: BenchArguments): readonly Suite[] {
  return args.suites.map((name) => {
    const suite = SUITES[name]
    return { ...suite, cases: suite.cases.filter((bench) => bench.name.includes(args.only ?? '')) }
  })
}

function subjectsOf(bench: BenchCase): readonly Subject[] {
  return [bench.ours, ...(bench.references ?? []), ...bench.peers]
}

function servicesOf(suites: readonly Suite[], oursAlone: boolean): ReadonlySet<ServiceName> {
  const cases = suites.flatMap((suite) => suite.cases)
  const subjects = cases.flatMap((bench) => (oursAlone ? [bench.ours] : subjectsOf(bench)))
  return new Set(subjects.flatMap((subject) => subject.services ?? []))
}

/** Why our side of a suite can't run: its transport is not part of this version. */
function notBuilt(suite: Suite): string | undefined {
  return suite.needsExport in manifest.exports
    ? undefined
    : `busbar${suite.needsExport.slice(1)} does not exist in this version`
}

function notInstalled({ needsPackage, file }: Subject): string | undefined {
  if (needsPackage === undefined || existsSync(join(BENCH_FOLDER, 'peers/node_modules', needsPackage))) return undefined
  return `${needsPackage} is not installed; ${file} says how`
}

function isOurs(subject: Subject): boolean {
  return subject.file.startsWith('cases/')
}

async function measure(suites: readonly Suite[], args: BenchArguments, services: Services): Promise<number> {
  if (suites.some((suite) => suite.cases.some((bench) => bench.peers.length > 0))) await ensurePeers()
  let missed = false
  let failed = false
  const finished: SuiteRecord[] = []
  for (const suite of suites) {
    const rounds = args.rounds ?? (args.quick ? SHORT_ROUNDS : LONG_ROUNDS)
    const progress = makeProgress(suite.name, rounds)
    const views = await roundRobin(suite.cases, {
      rounds,
      run: (subject) =>
        runSubject(subject, { length: args.quick ? SHORT : LONG, source: args.source, env: services.env }),
      unavailable: (subject) =>
        (isOurs(subject) ? notBuilt(suite) : undefined) ??
        notInstalled(subject) ??
        (subject.services ?? []).map((name) => services.missing.get(name)).find((why) => why !== undefined),
      progress: progress.show,
    })
    progress.clear()
    const records = views.map((view) => toCaseRecord(suite.name, view))
    for (const record of records)
      process.stdout.write(args.json ? `${JSON.stringify(record)}\n` : `${textReport(record)}\n`)
    missed ||= records.some((record) => record.goals.some((goal) => goal.met === false))
    failed ||= notBuilt(suite) === undefined && records.some((record) => record.ours === null)
    const record = suiteRecord(suite, records, args, services)
    if (args.only === undefined) saveSuiteRecord(record)
    finished.push(record)
  }
  if (args.writeDocs) writeDocs(finished)
  if (failed) process.stderr.write('A case of ours did not run; see above.\n')
  return failed || (args.check && missed) ? 1 : 0
}

function suiteRecord(
  suite: Suite,
  cases: readonly CaseRecord[],
  args: BenchArguments,
  services: Services,
): SuiteRecord {
  return {
    suite: suite.name,
    title: suite.title,
    command: `npm run bench -- ${suite.name}${args.quick ? ' --quick' : ''}${args.rounds === undefined ? '' : ` --rounds ${args.rounds}`}${args.source ? ' --source' : ''}`,
    date: new Date().toISOString().slice(0, 10),
    version: manifest.version,
    machine: describeMachine(),
    services: services.versions,
    peers: peerVersions(),
    cases,
  }
}

async function profile(suites: readonly Suite[], args: BenchArguments, services: Services): Promise<number> {
  for (const suite of suites) {
    const why = notBuilt(suite)
    if (why !== undefined) process.stderr.write(`${suite.name}: ${why}\n`)
    else
      for (const bench of suite.cases) {
        const text = await profileCase(bench, { length: PROFILED, source: args.source, env: services.env })
        process.stdout.write(`${text}\n`)
      }
  }
  return 0
}

function writeDocsFromReports(): number {
  const records = SUITE_NAMES.map(readSuiteRecord).filter((record) => record !== undefined)
  if (records.length === 0) {
    process.stderr.write(
      'No full run is kept in reports/bench. Run a suite first: npm run bench -- memory --write-docs\n',
    )
    return 2
  }
  writeDocs(records)
  process.stderr.write(`Wrote ${records.map((record) => record.suite).join(', ')} into docs/reference/benchmarks.md\n`)
  return 0
}

interface Progress {
  readonly show: (round: number, subject: Subject, bench: BenchCase) => void
  readonly clear: () => void
}

/** A line that is rewritten for each run at a terminal, and a line a round elsewhere. */
function makeProgress(suite: string, rounds: number): Progress {
  const clear = (): void => {
    if (process.stderr.isTTY) process.stderr.write('\r\u001B[K')
  }
  let shown = 0
  return {
    show(round, subject, bench) {
      const text = `${suite}: round ${round} of ${rounds}`
      clear()
      if (process.stderr.isTTY) process.stderr.write(`${text}: ${bench.name}, ${subject.name}`)
      else if (round !== shown) process.stderr.write(`${text}\n`)
      shown = round
    },
    clear,
  }
}
