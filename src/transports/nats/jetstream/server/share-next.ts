/**
 * Runs `work` one at a time. A call while it runs is answered by the next run, which all such calls share: what they want
 * to know may have changed since the present one began.
 */
export function shareNext<Result>(work: () => Promise<Result>): () => Promise<Result> {
  let running: Promise<Result> | undefined
  let next: Promise<Result> | undefined
  const run = (): Promise<Result> => {
    running = work().finally(() => {
      running = undefined
    })
    return running
  }
  return () => {
    if (next !== undefined) return next
    if (running === undefined) return run()
    next = running
      .then(
        () => undefined,
        () => undefined,
      )
      .then(() => {
        next = undefined
        return run()
      })
    return next
  }
}
