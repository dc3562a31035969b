import type { CaseView, Metric, SubjectFigures, SuiteName } from '../suites/suite.ts'

/** Figures of one subject in a report. */
export interface SubjectRecord {
  readonly value: number
  readonly min: number
  readonly max: number
  readonly runs: number
  readonly cpuMicrosPerMessage: number
  readonly rssMb: number
  readonly guarantees: string
  readonly extra: Readonly<Record<string, number | string>>
}

export interface GoalRecord {
  readonly goal: string
  readonly actual: string
  /** Null when a figure is missing. */
  readonly met: boolean | null
}

/** One line of `--json`. `ours`, `peers` and `references` are in `metric`; a ratio is ours by theirs. */
export interface CaseRecord {
  readonly suite: SuiteName
  readonly case: string
  readonly title: string
  readonly metric: Metric
  readonly ours: number | null
  readonly peers: Readonly<Record<string, number>>
  readonly ratios: Readonly<Record<string, number>>
  /** Of ours. */
  readonly cpuMicrosPerMessage: number | null
  readonly rssMb: number | null
  readonly references: Readonly<Record<string, number>>
  readonly goals: readonly GoalRecord[]
  /** Everybody who ran, ours under `busbar`, with spread, CPU and memory. */
  readonly details: Readonly<Record<string, SubjectRecord>>
  /** Who did not run, and why. */
  readonly missing: Readonly<Record<string, string>>
}

function rounded(value: number): number {
  return Number(value.toPrecision(4))
}

function recordOf(figures: SubjectFigures): SubjectRecord {
  const extra = Object.entries(figures.extra).map(([name, value]) => [
    name,
    typeof value === 'number' ? rounded(value) : value,
  ])
  return {
    value: rounded(figures.value),
    min: rounded(figures.min),
    max: rounded(figures.max),
    runs: figures.runs.length,
    cpuMicrosPerMessage: rounded(figures.cpuMicrosPerMessage),
    rssMb: rounded(figures.rssMb),
    guarantees: figures.subject.guarantees ?? '',
    extra: Object.fromEntries(extra) as SubjectRecord['extra'],
  }
}

export function toCaseRecord(suite: SuiteName, view: CaseView): CaseRecord {
  const { bench, ours, others } = view
  const values = (names: readonly { readonly name: string }[]): Record<string, number> =>
    Object.fromEntries(
      names.flatMap(({ name }) => {
        const figures = others.get(name)
        return figures === undefined ? [] : [[name, rounded(figures.value)]]
      }),
    )
  const peers = values(bench.peers)
  const ratios =
    ours === undefined ? [] : Object.entries(peers).map(([name, value]) => [name, rounded(ours.value / value)])
  const details = [...(ours === undefined ? [] : [[bench.ours.name, ours] as const]), ...others]
  return {
    suite,
    case: bench.name,
    title: bench.title,
    metric: bench.metric,
    ours: ours === undefined ? null : rounded(ours.value),
    peers,
    ratios: Object.fromEntries(ratios) as Record<string, number>,
    cpuMicrosPerMessage: ours === undefined ? null : rounded(ours.cpuMicrosPerMessage),
    rssMb: ours === undefined ? null : rounded(ours.rssMb),
    references: values(bench.references ?? []),
    goals: bench.goals.map((goal) => {
      const { actual, met } = goal.evaluate(view)
      return { goal: goal.text, actual, met: met ?? null }
    }),
    details: Object.fromEntries(details.map(([name, figures]) => [name, recordOf(figures)])),
    missing: Object.fromEntries(view.missing),
  }
}
