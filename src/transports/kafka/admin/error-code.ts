import { KafkaError, PartialFailureError } from '../../../kafka/index.ts'

/** Why an admin call was refused: of several items, that of the first. Empty for errors of other kinds. */
export function codeOf(error: unknown): string {
  if (error instanceof PartialFailureError) return [...error.failures.values()][0]?.code ?? error.code
  return error instanceof KafkaError ? error.code : ''
}
