import { AssertionError } from 'node:assert/strict'
import { check } from './check.ts'
import { report } from './report.ts'
import { ChaosRun } from './run.ts'
import type { ChaosOptions } from './run.ts'

/** Ten minutes each, or as long as the environment says. */
export const CHAOS_MS: number = Number(process.env['BUSBAR_CHAOS_MS'] ?? 600_000)

/** The one of the environment repeats the choices of a run that failed; instants differ. */
export function chaosSeed(): string {
  return process.env['BUSBAR_CHAOS_SEED'] ?? String(Math.floor(Math.random() * 1_000_000))
}

/** How long a test has to be given. */
export function chaosTimeout({ durationMs, drainMs }: Pick<ChaosOptions, 'durationMs' | 'drainMs'>): number {
  return durationMs + 3 * drainMs + 180_000
}

/** Throws when the run broke a promise, with the seed, the faults and the story of the messages that were hit. */
export async function chaos(name: string, options: ChaosOptions): Promise<void> {
  const run = new ChaosRun(options)
  try {
    const story = await run.run()
    const confirmed = story.sent.filter(({ fate }) => fate === 'confirmed').length
    const how = `chaos ${name}, seed ${options.seed}: ${confirmed} confirmed, ${story.faults.length} faults, ${story.letters.length} dead letters`
    const violations = check(story)
    if (violations.length > 0) throw new AssertionError({ message: report(story, violations, how) })
    console.log(how)
  } finally {
    await run.close()
  }
}
