import type { CaseOutput } from '../harness/case-output.ts'

export type ServiceName = 'rabbitmq' | 'nats' | 'redis' | 'postgres' | 'kafka'
export type SuiteName = 'memory' | 'sqlite' | 'rabbitmq' | 'nats' | 'redis' | 'kafka' | 'kafka-transport'

export const SUITE_NAMES: readonly SuiteName[] = [
  'memory',
  'sqlite',
  'rabbitmq',
  'nats',
  'redis',
  'kafka',
  'kafka-transport',
]

/** What runs a case: Busbar, or a peer. The same subject of several cases runs once a round for all of them. */
export interface Subject {
  readonly name: string
  /** Script under `bench/`. */
  readonly file: string
  readonly args?: readonly string[]
  readonly services?: readonly ServiceName[]
  /** A package that is not among those that are installed for the benchmarks: without it, the subject is left out. */
  readonly needsPackage?: string
  /** What its user can rely on in this configuration: a ratio means little without it. */
  readonly guarantees?: string
}

/** What `ours` and `peers` of the report hold: messages per second, the 99th percentile in ms, or CPU in percent of one core. */
export type Metric = 'msg/s' | 'p99 ms' | 'CPU %'

/** What a figure is compared with, and whether it holds. */
export interface Goal {
  readonly text: string
  evaluate(view: CaseView): GoalResult
}

export interface GoalResult {
  /** As it is shown beside the goal; empty when there is nothing to judge. */
  readonly actual: string
  /** Undefined when a figure is missing, because a subject could not run. */
  readonly met: boolean | undefined
}

export interface BenchCase {
  readonly name: string
  readonly title: string
  readonly metric: Metric
  readonly ours: Subject
  readonly peers: readonly Subject[]
  /** Busbar in another configuration, run beside ours for goals and for orientation; not a peer. */
  readonly references?: readonly Subject[]
  readonly goals: readonly Goal[]
  /** For cases that take long and tell by one run. */
  readonly rounds?: number
}

export interface Suite {
  readonly name: SuiteName
  readonly title: string
  /** Subpath that must exist for our side to run. */
  readonly needsExport: string
  readonly cases: readonly BenchCase[]
}

/** All runs of one subject, and the medians over them. */
export interface SubjectFigures {
  readonly subject: Subject
  readonly runs: readonly CaseOutput[]
  readonly value: number
  readonly min: number
  readonly max: number
  readonly cpuMicrosPerMessage: number
  readonly rssMb: number
  /** Medians of the numbers in `extra`. */
  readonly extra: Readonly<Record<string, number | string>>
}

/** A case with its figures. Subjects that could not run are not in it. */
export interface CaseView {
  readonly bench: BenchCase
  readonly ours: SubjectFigures | undefined
  readonly others: ReadonlyMap<string, SubjectFigures>
  /** Why a subject is missing, by name. */
  readonly missing: ReadonlyMap<string, string>
}
