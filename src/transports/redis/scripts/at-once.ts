/** Maximum number of streams in one script, which blocks the server while it runs. */
const STREAMS = 64

/** Divides streams among scripts; in a cluster each needs its own, because they may be on different servers. */
export function atOnce<T>(streams: readonly T[], { cluster }: { readonly cluster: boolean }): (readonly T[])[] {
  const size = cluster ? 1 : STREAMS
  const portions: (readonly T[])[] = []
  for (let at = 0; at < streams.length; at += size) portions.push(streams.slice(at, at + size))
  return portions
}
