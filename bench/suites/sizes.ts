/** The body sizes of the broker suites, and how their cases are called. */
export interface BodySize {
  readonly bytes: number
  readonly label: string
  readonly suffix: string
}

export const BODY_SIZES: readonly BodySize[] = [
  { bytes: 100, label: '100 B', suffix: '100b' },
  { bytes: 1024, label: '1 KB', suffix: '1kb' },
]

/** Of the keyed cases: as many as the smallest of their batches has messages. */
export const KEYS = 250
