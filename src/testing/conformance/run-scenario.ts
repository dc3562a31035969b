import { systemClock } from '../../core/clock.ts'
import { TimeoutError } from '../../core/errors.ts'
import { settledWithin } from '../../core/util/settled-within.ts'
import { createContext } from './context.ts'
import type { Environment } from './context.ts'
import type { Scenario } from './scenario.ts'

export interface ScenarioOutcome {
  readonly error: unknown
  readonly durationMs: number
}

/**
 * Runs one scenario and cleans up after it. Never rejects: the outcome contains the error. Anything thrown unhandled
 * meanwhile is an error of the scenario (invariant 13), whatever else it found.
 */
export async function runScenario(
  scenario: Scenario,
  environment: Environment,
  timeoutMs: number,
): Promise<ScenarioOutcome> {
  const startedAt = performance.now()
  const stray: unknown[] = []
  const note = (error: unknown): void => {
    stray.push(error)
  }
  process.on('unhandledRejection', note)
  const { ctx, dispose } = createContext(scenario.id, environment)
  const errors: unknown[] = []
  try {
    await within(timeoutMs, scenario.id, scenario.run(ctx))
  } catch (error) {
    errors.push(error)
  }
  try {
    await within(timeoutMs, `the clean-up of ${scenario.id}`, dispose())
  } catch (error) {
    errors.push(error)
  }
  // Node reports an unhandled rejection after the microtasks of its turn.
  await new Promise<void>((resolve) => {
    setImmediate(resolve)
  })
  process.off('unhandledRejection', note)
  if (stray.length > 0) errors.push(new AggregateError(stray, 'Unhandled rejection'))
  const error = errors.length > 1 ? new AggregateError(errors, messageOf(errors[0])) : errors[0]
  return { error, durationMs: Math.round(performance.now() - startedAt) }
}

async function within(timeoutMs: number, what: string, work: Promise<void>): Promise<void> {
  if (await settledWithin(systemClock, timeoutMs, work)) return
  throw new TimeoutError(`${what} did not end within ${timeoutMs} ms`)
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
