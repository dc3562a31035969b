import type { AttemptHost } from './attempt.ts'
import { BatchRunner } from './batch-runner.ts'
import type { BatchHandler, Handler } from '../handler.ts'
import type { Preparation } from './preparation.ts'
import type { Runner, RunnerHost } from './runner.ts'
import { SingleRunner } from './single-runner.ts'

/** Makes the runner of one consumer. A feature with another kind of handler, such as a pipeline, brings another. */
export type RunnerFactory = (host: RunnerHost, attemptHost: AttemptHost, preparation: Preparation) => Runner

export function singleRunner(handler: Handler): RunnerFactory {
  return (host, attemptHost, preparation) => new SingleRunner(host, attemptHost, preparation, handler)
}

export function batchRunner(
  handler: BatchHandler,
  options: { readonly size: number; readonly timeoutMs: number },
): RunnerFactory {
  return (host, attemptHost, preparation) => new BatchRunner(host, attemptHost, preparation, handler, options)
}
