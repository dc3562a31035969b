import type { CaseOutput } from '../harness/case-output.ts'
import { median } from '../harness/median.ts'
import type { BenchCase, CaseView, Subject, SubjectFigures } from '../suites/suite.ts'

export interface RoundRobinOptions {
  readonly rounds: number
  run(subject: Subject, bench: BenchCase): Promise<CaseOutput>
  /** Why the subject can't run here, or undefined. */
  unavailable(subject: Subject): string | undefined
  /** Called before each run. */
  progress(round: number, subject: Subject, bench: BenchCase): void
}

interface Slot {
  readonly subject: Subject
  readonly bench: BenchCase
  readonly rounds: number
  readonly runs: CaseOutput[]
  failure: string | undefined
}

/** Subjects with the same script and arguments are the same run, whichever case they stand in. */
function identity(subject: Subject): string {
  return [subject.file, ...(subject.args ?? [])].join(' ')
}

function subjectsOf(bench: BenchCase): readonly Subject[] {
  return [bench.ours, ...(bench.references ?? []), ...bench.peers]
}

/**
 * Runs all subjects of all cases round after round, so that a slow minute of the machine falls on everybody alike. Every
 * other round goes backwards, so that nobody always runs behind the same neighbour.
 */
export async function roundRobin(
  cases: readonly BenchCase[],
  options: RoundRobinOptions,
): Promise<readonly CaseView[]> {
  const slots = new Map<string, Slot>()
  for (const bench of cases) {
    for (const subject of subjectsOf(bench)) {
      const key = identity(subject)
      const rounds = Math.min(options.rounds, bench.rounds ?? options.rounds)
      if (!slots.has(key)) slots.set(key, { subject, bench, rounds, runs: [], failure: options.unavailable(subject) })
    }
  }
  for (let round = 0; round < options.rounds; round++) {
    const order = round % 2 === 0 ? [...slots.values()] : [...slots.values()].toReversed()
    for (const slot of order) if (round < slot.rounds) await runSlot(slot, round, options)
  }
  return cases.map((bench) => viewOf(bench, slots))
}

async function runSlot(slot: Slot, round: number, options: RoundRobinOptions): Promise<void> {
  if (slot.failure !== undefined) return
  options.progress(round + 1, slot.subject, slot.bench)
  try {
    slot.runs.push(await options.run(slot.subject, slot.bench))
  } catch (error) {
    slot.failure = error instanceof Error ? error.message : String(error)
  }
}

function viewOf(bench: BenchCase, slots: ReadonlyMap<string, Slot>): CaseView {
  const missing = new Map<string, string>()
  const others = new Map<string, SubjectFigures>()
  let ours: SubjectFigures | undefined
  for (const subject of subjectsOf(bench)) {
    const slot = slots.get(identity(subject))
    if (slot === undefined || slot.failure !== undefined) missing.set(subject.name, slot?.failure ?? 'not run')
    else if (subject === bench.ours) ours = figuresOf(bench, subject, slot.runs)
    else others.set(subject.name, figuresOf(bench, subject, slot.runs))
  }
  return { bench, ours, others, missing }
}

function valueOf(bench: BenchCase, run: CaseOutput): number {
  if (bench.metric === 'msg/s') return run.messages / run.seconds
  return Number(run.extra?.[bench.metric === 'p99 ms' ? 'p99Ms' : 'cpuPercent'] ?? NaN)
}

function figuresOf(bench: BenchCase, subject: Subject, runs: readonly CaseOutput[]): SubjectFigures {
  const values = runs.map((run) => valueOf(bench, run))
  const extra: Record<string, number | string> = {}
  for (const name of Object.keys(runs[0]?.extra ?? {})) {
    const all = runs.map((run) => run.extra?.[name])
    extra[name] = typeof all[0] === 'number' ? median(all.map(Number)) : String(all[0])
  }
  return {
    subject,
    runs,
    value: median(values),
    min: Math.min(...values),
    max: Math.max(...values),
    cpuMicrosPerMessage: median(runs.map((run) => run.cpuMicros / run.messages)),
    rssMb: median(runs.map((run) => run.rssMb)),
    extra,
  }
}
