import type { Fault, Seen, Sent, Story, Violation } from './story.ts'

/** What a fault may still do after it is over: a lease that has to run out, a write that was not yet on disk. */
const AFTERMATH_MS = 15_000
const DISK_MS = 2_000
/** Those that give a member the time to finish. */
const ORDERLY: ReadonlySet<string> = new Set(['close', 'join', 'publisher closed'])

/** Every way in which a run broke a promise; empty when it kept them all. */
export function check(story: Story): readonly Violation[] {
  const sent = new Map(story.sent.map((entry) => [entry.id, entry]))
  const perGroup = story.groups.flatMap((group) => {
    const seen = story.seen.filter((step) => step.group === group).toSorted(inTime)
    const byId = Map.groupBy(seen, ({ id }) => id)
    return [
      ...missing(story, group, byId),
      ...impossible(sent, group, byId),
      ...(story.ordered.includes(group) ? disorder(story, group, byId) : []),
      ...steps(story, sent, group, byId),
    ]
  })
  const dead = story.letters
    .filter(({ id }) => sent.get(id)?.kind !== 'poison')
    .map(({ id, group, reason }): Violation => ({
      kind: 'dead',
      id,
      text: `${id} was dead-lettered in ${group} (${reason}) though its handler never refused it`,
    }))
  const unwell = story.unwell.map((text): Violation => ({ kind: 'unwell', text }))
  return [...perGroup, ...dead, ...unwell]
}

/** Several members may have a message within one millisecond, which is all that their clocks can tell apart: then attempts count. */
function inTime(a: Seen, b: Seen): number {
  return a.at - b.at || (a.attempt ?? 0) - (b.attempt ?? 0)
}

type ById = ReadonlyMap<string, readonly Seen[]>

function missing({ sent, lag }: Story, group: string, byId: ById): readonly Violation[] {
  const held = lag[group] ?? 0
  return sent
    .filter(({ id, fate }) => fate === 'confirmed' && !has(byId, id, 'done'))
    .map(({ id, kind }) => ({
      kind: held > 0 ? 'stuck' : 'lost',
      id,
      text: `${id} (${kind}) was confirmed and never handled in ${group}, which has a lag of ${held}`,
    }))
}

function impossible(sent: ReadonlyMap<string, Sent>, group: string, byId: ById): readonly Violation[] {
  return [...byId.keys()]
    .filter((id) => (sent.get(id)?.fate ?? 'not-sent') === 'not-sent')
    .map((id) => ({ kind: 'impossible', id, text: `${id} came to ${group} though it was never sent` }))
}

/**
 * A message must not start before an earlier one of its key has left its handler for good. What was delayed, and what may
 * never have arrived, has no place in that order.
 */
function disorder({ sent }: Story, group: string, byId: ById): readonly Violation[] {
  const found: Violation[] = []
  const ordered = sent.filter(({ key, delayMs, fate }) => key !== undefined && delayMs === 0 && fate === 'confirmed')
  for (const [key, entries] of Map.groupBy(ordered, (entry) => entry.key)) {
    let latest: { readonly id: string; readonly at: number } | undefined
    for (const { id } of entries.toSorted((a, b) => a.at - b.at)) {
      const steps = byId.get(id) ?? []
      const start = steps.find(({ type }) => type === 'start')?.at
      const end = steps.find(({ type }) => type === 'done' || type === 'rejected')?.at
      if (start !== undefined && latest !== undefined && start < latest.at)
        found.push({
          kind: 'disorder',
          id,
          other: latest.id,
          text: `${id} started in ${group} ${latest.at - start} ms before ${latest.id} of its key ${key} had ended`,
        })
      if (end !== undefined && (latest === undefined || end > latest.at)) latest = { id, at: end }
    }
  }
  return found
}

/** What the steps of each message say: attempts, returns after an ack, and times. */
function steps(story: Story, sent: ReadonlyMap<string, Sent>, group: string, byId: ById): readonly Violation[] {
  const found: Violation[] = []
  for (const [id, seen] of byId) {
    const entry = sent.get(id)
    const copied = mayBeTwice(story, entry, group, seen)
    let highest: Seen | undefined
    let acked: Seen | undefined
    for (const step of seen) {
      if (step.type === 'acked') acked ??= step
      if (step.type !== 'start' || copied) continue
      // A message that is redriven begins again.
      if (entry?.kind === 'poison' && step.at >= story.redrivenAt) continue
      const [now, before] = [step.attempt ?? 1, highest?.attempt ?? 0]
      if (
        highest !== undefined &&
        now < before &&
        !severed(story.faults, highest) &&
        !stale(story.faults, step, highest)
      )
        found.push({ kind: 'attempts', id, text: `${id} came to ${group} with attempt ${now} after attempt ${before}` })
      if (now >= before) highest = step
      const hasPlace = entry?.key !== undefined && story.ordered.includes(group)
      if (
        acked !== undefined &&
        inTime(step, acked) > 0 &&
        !explained(story.faults, step, acked.at) &&
        !(!hasPlace && ackedLate(story.faults, acked, step))
      )
        found.push({
          kind: 'returned',
          id,
          text: `${id} came to ${step.member} of ${group} ${step.at - acked.at} ms after its ack, and no fault explains it`,
        })
    }
    found.push(...times(story, entry, group, seen))
  }
  return found
}

/** What a member that was cut off knew of an attempt need not have reached the broker. */
function severed(faults: readonly Fault[], { member, at }: Seen): boolean {
  return faults.some(
    ({ severs, target, ...times }) =>
      severs && (target === member || target === 'broker') && times.at - DISK_MS <= at && at <= times.until,
  )
}

/**
 * A retry without order goes back to the broker as a copy, and then the original is acked. A member that dies or is cut
 * off in between leaves both, and each is handled to its end.
 */
function mayBeTwice(
  { faults, ordered }: Story,
  entry: Sent | undefined,
  group: string,
  seen: readonly Seen[],
): boolean {
  if (entry?.kind !== 'retry' || (entry.key !== undefined && ordered.includes(group))) return false
  const starts = seen.filter(({ type }) => type === 'start')
  return faults.some(
    ({ kind, target, at, until }) =>
      !ORDERLY.has(kind) &&
      starts.some(
        (start) =>
          (target === 'broker' || target === start.member) &&
          at <= start.at + AFTERMATH_MS &&
          start.at <= until + DISK_MS,
      ),
  )
}

/** A member that was frozen or cut off still holds what was meanwhile tried elsewhere, and knows nothing of that. */
function stale(faults: readonly Fault[], step: Seen, highest: Seen): boolean {
  const others = faults.filter(({ target }) => target !== 'broker')
  return step.member !== highest.member && explained(others, step, highest.at)
}

/** A member that was frozen or cut off may begin what others have done meanwhile; a broker may forget its last moments. */
function explained(faults: readonly Fault[], { member, at }: Seen, acked: number): boolean {
  return faults.some((fault) =>
    fault.target === 'broker'
      ? fault.until >= acked - DISK_MS && fault.at - DISK_MS <= at
      : fault.target === member && fault.at <= at && fault.until + AFTERMATH_MS >= acked,
  )
}

/**
 * A member that was frozen or cut off may handle and ack what the broker has meanwhile redelivered to another, where it is
 * about to start. The messages of a key have one reader at a time, so this is no excuse for them.
 */
function ackedLate(faults: readonly Fault[], acked: Seen, { at }: Seen): boolean {
  return faults.some(
    ({ target, ...times }) =>
      target === acked.member && times.at <= acked.at && times.until + DISK_MS >= acked.at && at - acked.at <= DISK_MS,
  )
}

function times(story: Story, entry: Sent | undefined, group: string, seen: readonly Seen[]): readonly Violation[] {
  if (entry === undefined || entry.delayMs === 0) return []
  const start = seen.find(({ type }) => type === 'start')?.at
  if (start === undefined) return []
  const { id, at, delayMs, settledAt } = entry
  const early = at + delayMs - start
  if (early > 0)
    return [{ kind: 'early', id, text: `${id}, delayed by ${delayMs} ms, came to ${group} ${early} ms early` }]
  const late = start - settledAt - delayMs
  if (entry.fate !== 'confirmed' || late <= story.lateMs) return []
  return [{ kind: 'late', id, text: `${id}, delayed by ${delayMs} ms, came to ${group} ${late} ms late` }]
}

function has(byId: ById, id: string, type: Seen['type']): boolean {
  return byId.get(id)?.some((step) => step.type === type) === true
}
