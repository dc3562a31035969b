import type { DeadLetterSelection, PurgeOptions, RedriveOptions } from '../bus-types.ts'
import { describe, OptionsReader } from '../util/options-reader.ts'

/** A rate below one in 1,000 seconds is a mistake, such as a division by the wrong number. */
const MIN_RATE_PER_SECOND = 0.001

/**
 * Checks the options of calls on dead letters. A misspelt filter would select everything, so each function throws one
 * `ConfigurationError` with all problems before anything happens.
 */
export function resolveSelection(subject: string, given: unknown): DeadLetterSelection {
  const reader = new OptionsReader(subject, given)
  const selection = readSelection(reader)
  reader.done()
  return selection
}

export function resolvePurge(subject: string, given: unknown): PurgeOptions {
  const reader = new OptionsReader(subject, given)
  const options = { ...readSelection(reader), signal: readSignal(reader) }
  reader.done()
  return options
}

export function resolveRedrive(subject: string, given: unknown): RedriveOptions {
  const reader = new OptionsReader(subject, given)
  const options = {
    ...readSelection(reader),
    signal: readSignal(reader),
    ratePerSecond: reader.number('ratePerSecond', undefined, { min: MIN_RATE_PER_SECOND }),
    dryRun: reader.boolean('dryRun', false),
    maxRedrives: reader.integer('maxRedrives', undefined),
  }
  reader.done()
  return options
}

function readSelection(reader: OptionsReader): DeadLetterSelection {
  return {
    ids: readIds(reader),
    filter: reader.callable<NonNullable<DeadLetterSelection['filter']>>('filter'),
    limit: reader.integer('limit', undefined),
  }
}

function readIds(reader: OptionsReader): readonly string[] | undefined {
  if (!reader.has('ids')) return undefined
  const ids = reader.list('ids')
  const wrong = ids.findIndex((id) => typeof id !== 'string' || id === '')
  if (wrong >= 0)
    reader.problem(`ids[${wrong}]`, `must be a message id, a string that is not empty, got ${describe(ids[wrong])}`)
  return ids as readonly string[]
}

function readSignal(reader: OptionsReader): AbortSignal | undefined {
  return reader.withMethods<AbortSignal>('signal', ['addEventListener', 'removeEventListener', 'throwIfAborted'])
}
