/** A door that handlers wait at until the scenario opens it. */
export interface Gate {
  readonly opened: Promise<void>
  /** Lets through all handlers that wait, and those that come later. */
  open(): void
}

export function gate(): Gate {
  const { promise, resolve } = Promise.withResolvers<void>()
  return { opened: promise, open: resolve }
}
