/** Why an element was not handled. */
export interface FailedElement {
  /** Place in the iterable, from 0. */
  readonly index: number
  readonly stage: string
  readonly error: unknown
}

/** How far the elements of iterables have come. */
export interface PipelineReport {
  /** Elements read from iterables. */
  readonly read: number
  /** Those that were handled, and those that failed. */
  readonly handled: number
  readonly failed: number
  /** The first 100 that failed. */
  readonly failures: readonly FailedElement[]
}
