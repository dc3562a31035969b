import { ConfigurationError } from '../../core/errors.ts'
import type { Problem } from '../../core/errors.ts'
import type { Transport } from '../../core/transport.ts'
import { allScenarios } from './all-scenarios.ts'
import type { Environment } from './context.ts'
import { writeReport } from './report.ts'
import type { ScenarioResult, ScenarioStatus } from './report.ts'
import { messageOf, runScenario } from './run-scenario.ts'
import { notApplicable } from './scenario.ts'
import type { Means, Scenario } from './scenario.ts'
import type { BrokerFaults, ForeignClient } from './run-means.ts'

/** What a test runner passes to a test: only `skip`, and only if the runner supports it. */
export interface RunnerTestContext {
  /** Marks the test as skipped, with the reason. */
  readonly skip?: ((reason?: string) => unknown) | undefined
}

/**
 * The part of a test runner that the suite needs. Vitest's module has this shape; for `node:test` write
 * `{ describe, it, beforeAll: before, afterAll: after }`.
 */
export interface Runner {
  /** Groups the tests that `body` adds. */
  readonly describe: (name: string, body: () => void) => unknown
  /**
   * Adds a test. `timeout` is in ms. Those that are `concurrent` may run side by side; a runner that does not know the option
   * runs them one after the other, which takes longer.
   */
  readonly it: (
    name: string,
    options: { readonly timeout: number; readonly concurrent?: boolean },
    body: (context: RunnerTestContext) => Promise<void>,
  ) => unknown
  /** Runs `body` once, before the tests of the group. */
  readonly beforeAll: (body: () => Promise<void>) => unknown
  /** Runs `body` once, after the tests of the group. */
  readonly afterAll: (body: () => Promise<void>) => unknown
}

/** Options of `conformance`. */
export interface ConformanceOptions {
  /** Name of the report: `reports/conformance/<name>.json`. */
  readonly name: string
  /** Version of the tested broker, for the report. */
  readonly version?: string | undefined
  /**
   * Makes a transport that is not open yet. Called many times; all of them must reach the same broker and the same
   * data.
   */
  readonly create: () => Transport | Promise<Transport>
  /** What the run can do to the broker; scenarios that need a missing hook are not applicable. */
  readonly faults?: BrokerFaults | undefined
  /** A client of the broker that does not use Busbar. */
  readonly foreign?: ForeignClient | undefined
  /**
   * URL of a module that exports `create()` for use in a child process, on the same broker: enables the process-death
   * scenarios.
   */
  readonly childModule?: string | URL | undefined
  /** Added to the environment of those processes: the address of the broker, the path of the file. */
  readonly childEnv?: Readonly<Record<string, string>> | undefined
  /**
   * Scenarios that this transport is known to fail, by id, each with the reason. They are not run, and are reported as
   * `exception`. An id that does not exist is refused.
   */
  readonly exceptions?: Readonly<Record<string, string>> | undefined
  /** How long a scenario waits for expected events, in ms. Default 10,000. */
  readonly patienceMs?: number | undefined
  /** How late a delay may end, in ms. Default 500. */
  readonly precisionMs?: number | undefined
  /** Time limit for one scenario, in ms. Default six times the patience. */
  readonly scenarioTimeoutMs?: number | undefined
  /** Folder of the report, or false for none. Default `reports/conformance` in the working directory. */
  readonly report?: string | false | undefined
}

/**
 * Registers the conformance suite of a transport with a test runner.
 *
 *     import * as vitest from 'vitest'
 *     import { conformance } from 'busbar/testing'
 *
 *     conformance(vitest, { name: 'acme', create: () => acme({ url: 'acme://127.0.0.1' }) })
 *
 * Registers one test for each scenario. `transport.capabilities` decides which apply; the others are reported as such,
 * with the reason, and skipped in the runner. The report is written when all have run.
 *
 * Throws `ConfigurationError` when an exception names no scenario or gives no reason.
 */
export function conformance(runner: Runner, options: ConformanceOptions): void {
  registerScenarios(allScenarios, runner, options)
}

/** @internal `conformance` with the caller's own scenarios. */
export function registerScenarios(scenarios: readonly Scenario[], runner: Runner, options: ConformanceOptions): void {
  const { exceptions = {}, patienceMs = 10_000, precisionMs = 500 } = options
  checkExceptions(options.name, exceptions, scenarios)
  const timeoutMs = options.scenarioTimeoutMs ?? patienceMs * 6
  const results = new Map<string, ScenarioResult>()
  let environment: Environment | undefined
  let means: Means | undefined
  let system = ''
  let startedAt = 0

  const runOne = async (scenario: Scenario, context: RunnerTestContext): Promise<void> => {
    const note = (status: ScenarioStatus, durationMs: number, reason?: string): void => {
      const { id, group, invariant, title } = scenario
      results.set(id, { id, group, invariant, title, status, reason, durationMs })
    }
    if (environment === undefined || means === undefined) throw new Error('The suite was not set up')
    const exception = exceptions[scenario.id]
    const reason = exception ?? notApplicable(scenario, means)
    if (reason !== undefined) {
      note(exception === undefined ? 'not-applicable' : 'exception', 0, reason)
      context.skip?.(`${exception === undefined ? 'not applicable' : 'exception'}: ${reason}`)
      return
    }
    const { error, durationMs } = await runScenario(scenario, environment, timeoutMs)
    note(error === undefined ? 'passed' : 'failed', durationMs, error === undefined ? undefined : messageOf(error))
    if (error !== undefined) throw error
  }

  runner.describe(`conformance of ${options.name}`, () => {
    runner.beforeAll(async () => {
      startedAt = performance.now()
      const transport = await options.create()
      const { capabilities } = transport
      system = transport.system
      const { faults = {}, foreign, childModule, childEnv } = options
      environment = {
        create: options.create,
        capabilities,
        faults,
        foreign,
        childModule,
        childEnv,
        patienceMs,
        precisionMs,
      }
      means = { capabilities, hasAdmin: transport.admin !== undefined, faults, childModule, foreign }
    })

    const add = (scenario: Scenario): void => {
      // The runner's own limit is only a safety net: ours reports more.
      const limits = { timeout: timeoutMs * 2 + 5_000, concurrent: scenario.waits === true }
      runner.it(`${scenario.id} · ${scenario.title}`, limits, (context) => runOne(scenario, context))
    }
    const others = scenarios.filter(({ waits }) => waits !== true)
    for (const group of new Set(others.map((scenario) => scenario.group)))
      runner.describe(group, () => others.filter((scenario) => scenario.group === group).forEach(add))
    // At the end, so that nothing that disturbs the broker runs beside them.
    const waiting = scenarios.filter(({ waits }) => waits === true)
    if (waiting.length > 0) runner.describe('side by side', () => waiting.forEach(add))

    runner.afterAll(async () => {
      // A filtered run is too incomplete to replace a report.
      if (options.report === false || environment === undefined || results.size < scenarios.length) return
      writeReport(options.report ?? 'reports/conformance', {
        transport: options.name,
        version: options.version,
        system,
        capabilities: environment.capabilities,
        durationMs: Math.round(performance.now() - startedAt),
        scenarios: scenarios.map(({ id }) => results.get(id)).filter((result) => result !== undefined),
      })
    })
  })
}

function checkExceptions(
  name: string,
  exceptions: Readonly<Record<string, string>>,
  scenarios: readonly Scenario[],
): void {
  const known = new Set(scenarios.map(({ id }) => id))
  const problems: Problem[] = []
  for (const [id, reason] of Object.entries(exceptions)) {
    if (!known.has(id)) problems.push({ path: `exceptions.${id}`, message: 'is not a known scenario: was it renamed?' })
    if (typeof reason !== 'string' || reason.trim() === '')
      problems.push({ path: `exceptions.${id}`, message: 'needs a reason: it is shown in the documentation' })
  }
  if (problems.length > 0) throw new ConfigurationError(`conformance of "${name}"`, problems)
}
