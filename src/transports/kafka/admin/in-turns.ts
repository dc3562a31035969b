/** How many topics, groups or partitions are asked about at a time. */
const AT_ONCE = 50

/** Asks about each item, not about all at once. Resolves with the answers in the order of the items. */
export async function inTurns<T, R>(items: readonly T[], ask: (item: T) => Promise<R>): Promise<readonly R[]> {
  const answers: R[] = []
  for (let at = 0; at < items.length; at += AT_ONCE)
    answers.push(...(await Promise.all(items.slice(at, at + AT_ONCE).map(ask))))
  return answers
}
