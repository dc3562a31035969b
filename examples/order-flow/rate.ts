const WINDOW_MS = 2_000

/** Recent orders per second, computed from the running total. */
export function createRate(): (total: number, atMs: number) => number {
  let samples: { readonly total: number; readonly atMs: number }[] = [{ total: 0, atMs: 0 }]
  return (total, atMs) => {
    samples.push({ total, atMs })
    // Keep one sample from before the window: a slow flow would have nothing to compare with.
    const first = samples.findIndex((sample) => sample.atMs >= atMs - WINDOW_MS)
    samples = samples.slice(Math.max(0, first - 1))
    const oldest = samples[0]
    if (oldest === undefined || atMs <= oldest.atMs) return 0
    return ((total - oldest.total) / (atMs - oldest.atMs)) * 1_000
  }
}
