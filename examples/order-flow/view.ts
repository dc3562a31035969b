/** State of the flow. */
export interface Snapshot {
  readonly elapsedMs: number
  /** Total number of orders. */
  readonly total: number
  readonly published: number
  readonly shipped: number
  readonly cancelled: number
  readonly deadLettered: number
  readonly retried: number
  readonly duplicates: number
  /** Number of messages waiting for each group; undefined when unknown. */
  readonly lag: ReadonlyMap<string, number | undefined>
}

export interface View {
  update(snapshot: Snapshot): void
  /** Reports something that happened: a kill, a deployment. */
  note(text: string): void
  /** Leaves the last state on the screen. */
  end(): void
}

export type Output = NodeJS.WriteStream
