import type { Story, Violation } from './story.ts'

const SHOWN = 8
/** Of each kind, with their whole story. */
const TOLD = 2
const STEPS = 60

/** What went wrong, the timeline of the faults, and the whole story of the first messages that were hit. */
export function report(story: Story, violations: readonly Violation[], how: string): string {
  const begin = Math.min(...story.sent.map(({ at }) => at), ...story.faults.map(({ at }) => at))
  const kinds = [...Map.groupBy(violations, ({ kind }) => kind)].map(([kind, found]) => `${found.length} ${kind}`)
  const byKind = [...Map.groupBy(violations, ({ kind }) => kind).values()]
  // Some of each kind: a thousand of one must not hide the others.
  const chosen = byKind.flatMap((found) => found.slice(0, SHOWN))
  const told = byKind.flatMap((found) => found.slice(0, TOLD)).flatMap(({ id, other }) => [other, id])
  const ids = new Set(told.filter((id) => id !== undefined))
  return [
    `${how}: ${kinds.join(', ')}`,
    ...chosen.map(({ kind, text }) => `  ${kind}: ${text}`),
    'Faults:',
    ...story.faults.map(
      ({ kind, target, at, until }) => `  ${seconds(at, begin)} to ${seconds(until, begin)} ${kind} ${target}`,
    ),
    ...[...ids].flatMap((id) => [`Story of ${id}:`, ...storyOf(story, id, begin)]),
  ].join('\n')
}

function storyOf({ sent, seen, letters }: Story, id: string, begin: number): readonly string[] {
  const entry = sent.find((found) => found.id === id)
  const published =
    entry === undefined
      ? []
      : [
          `  ${seconds(entry.at, begin)} published (${entry.kind}, key ${entry.key ?? 'none'}, delay ${entry.delayMs} ms)`,
          `  ${seconds(entry.settledAt, begin)} ${entry.fate}`,
        ]
  const steps = seen
    .filter((step) => step.id === id)
    .toSorted((a, b) => a.at - b.at)
    .slice(0, STEPS)
    .map(({ at, group, member, type, attempt }) => {
      const count = attempt === undefined ? '' : ` attempt ${attempt}`
      return `  ${seconds(at, begin)} ${group} ${member} ${type}${count}`
    })
  const dead = letters.filter((letter) => letter.id === id).map(({ group, reason }) => `  dead in ${group}: ${reason}`)
  return [...published, ...steps, ...dead]
}

function seconds(at: number, begin: number): string {
  return `${((at - begin) / 1_000).toFixed(3)} s`.padStart(11)
}
