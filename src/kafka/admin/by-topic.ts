/** Items of the same topic together, as requests want them. */
export function byTopic<T extends { readonly topic: string }>(
  items: readonly T[],
): readonly (readonly [topic: string, items: readonly T[]])[] {
  return [...Map.groupBy(items, ({ topic }) => topic)]
}
