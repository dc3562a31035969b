import { sleep } from '../../../core/clock.ts'
import { SettlementError } from '../../../core/errors.ts'
import type { AttemptNote } from '../../../core/transport.ts'
import { replyCode } from '../errors.ts'
import { NOTE_ATTEMPTS, NOTE_LOST } from '../scripts/notes.ts'
import type { MemberContext } from './member-context.ts'
import type { KnownAttempts, RedisDelivery, Source } from './source.ts'

/** Maximum number of entries in one script, which blocks the server while it runs. */
const CHUNK = 500
const LATER = '@later'
const AGAIN_MS = 100

/**
 * The history of a claimed entry, from its note and its former consumer. The server's own count of deliveries does not
 * count attempts: it increases with each hand-out and each claim.
 */
export function attemptsOf(note: string, former: string, consumer: string): KnownAttempts {
  const [usedText = '0', running = '0', notBeforeText = '0'] = note.split(' ', 3)
  const used = Number(usedText)
  const notBefore = Number(notBeforeText)
  const common = { notBefore: notBefore === 0 ? undefined : notBefore, noted: note !== '' }
  // Our own, from a lost reply or a settlement that failed: this process lives, so what was running does not count.
  if (former === consumer) return { ...common, attempt: 1 + (running === '1' ? used - 1 : used), history: 'returned' }
  if (former === LATER) return { ...common, attempt: 1 + used, history: 'returned' }
  return { ...common, attempt: 1 + used, history: running === '1' ? 'died' : 'unknown' }
}

/** Writes notes of deliveries in flight; those of lost ones only say that their handler used no attempt. */
export async function noteAttempts(member: MemberContext, notes: readonly AttemptNote[]): Promise<void> {
  const stored: AttemptNote[] = []
  const lost = new Map<Source, string[]>()
  for (const note of notes) {
    const { source, id, settled, lost: isLost } = note.delivery as RedisDelivery
    if (!isLost && !settled) stored.push(note)
    if (!isLost || note.running) continue
    const list = lost.get(source) ?? []
    list.push(id, String(note.used))
    lost.set(source, list)
  }
  const { scripts } = member.context
  await Promise.all([
    storeNotes(member, stored),
    ...[...lost].map(([source, args]) => scripts.run(NOTE_LOST, [source.notes], [member.consumer, ...args])),
  ])
}

/** Stores notes of deliveries that are ours: one script for all of one turn; in a cluster one for each stream. */
export async function storeNotes(member: MemberContext, notes: readonly AttemptNote[]): Promise<void> {
  const bySource = new Map<Source, AttemptNote[]>()
  for (const note of notes) {
    const delivery = note.delivery as RedisDelivery
    delivery.noted = true
    const list = bySource.get(delivery.source)
    if (list === undefined) bySource.set(delivery.source, [note])
    else list.push(note)
  }
  const writing: Promise<void>[] = []
  let batch: (readonly [Source, readonly AttemptNote[]])[] = []
  let size = 0
  const flush = (): void => {
    if (batch.length > 0) writing.push(write(member, batch))
    batch = []
    size = 0
  }
  for (const [source, list] of bySource)
    for (let at = 0; at < list.length; at += CHUNK) {
      const part = list.slice(at, at + CHUNK)
      if (member.context.commands.cluster || size + part.length > CHUNK) flush()
      batch.push([source, part])
      size += part.length
    }
  flush()
  await Promise.all(writing)
}

async function write(
  member: MemberContext,
  batch: readonly (readonly [Source, readonly AttemptNote[]])[],
): Promise<void> {
  const { context, spec, consumer } = member
  const keys: string[] = []
  const args: string[] = [spec.group, consumer]
  for (const [source, notes] of batch) {
    keys.push(source.stream, source.partition.group.meta, source.notes)
    args.push(generationOf(notes), String(notes.length))
    for (const { delivery, used, running, notBefore = 0 } of notes)
      args.push((delivery as RedisDelivery).id, String(used), running ? '1' : '0', String(Math.ceil(notBefore)))
  }
  const stored = (await whileDeleted(member, batch, () =>
    context.scripts.run(NOTE_ATTEMPTS, keys, args),
  )) as readonly number[]
  let refused = false
  for (const [at, count] of stored.entries()) {
    if (count >= 0) continue
    const [source, notes] = batch[at] as (typeof batch)[number]
    refused = true
    if (generationOf(notes) === source.partition.generation)
      source.partition.lose('the group was moved, or another member has taken the partition over')
  }
  if (refused) throw new SettlementError('The delivery was taken back; the message is delivered again')
}

/** Tries again until the group has been recreated: what was deleted with it is still ours. */
async function whileDeleted(
  member: MemberContext,
  batch: readonly (readonly [Source, readonly AttemptNote[]])[],
  run: () => Promise<unknown>,
): Promise<unknown> {
  for (;;) {
    try {
      return await run()
    } catch (error) {
      const isOurs = batch.some(([, notes]) => notes.some(({ delivery }) => !(delivery as RedisDelivery).lost))
      if (replyCode(error) !== 'NOGROUP' || member.closed || !isOurs) throw error
      for (const [{ partition }] of batch) partition.repair()
      await sleep(member.context.host.clock, AGAIN_MS)
    }
  }
}

function generationOf(notes: readonly AttemptNote[]): string {
  return ((notes[0] as AttemptNote).delivery as RedisDelivery).generation
}
