import type { DeadLetter, DeadLetters, DeadLetterSelection, RedriveOptions, RedriveReport } from './bus-types.ts'
import { sleep } from './clock.ts'
import type { Clock } from './clock.ts'
import { makeRedrive, parseDeadLetter } from './dead-letter.ts'
import { UnsupportedError } from './errors.ts'
import type { BusEvents } from './events.ts'
import type { Publisher } from './publisher.ts'
import { deadLetterTopic, mayBeBroadcast } from './topic.ts'
import type { Position, TransportAdmin } from './transport.ts'

/** How many stored messages are looked at in one go. */
const PAGE = 200

export interface DeadLettersParts {
  readonly topic: string
  readonly group: string
  readonly transportName: string
  readonly admin: TransportAdmin
  readonly publisher: Publisher
  readonly clock: Clock
  readonly events: BusEvents
}

/** The dead letters of one topic and group: look at them, send them back, delete them. */
export function deadLettersOf(parts: DeadLettersParts): DeadLetters {
  const topic = deadLetterTopic(parts.topic, parts.group)

  async function* select(selection: DeadLetterSelection): AsyncGenerator<DeadLetter[]> {
    const ids = selection.ids === undefined ? undefined : new Set(selection.ids)
    let left = selection.limit ?? Infinity
    let after: Position | undefined
    for (;;) {
      const page = await parts.admin.read(topic, { after, limit: PAGE })
      const letters: DeadLetter[] = []
      for (const stored of page) {
        after = stored.position
        const letter = parseDeadLetter(stored)
        if (letter === undefined || left === 0) continue
        if (ids !== undefined && !ids.has(letter.message.id)) continue
        if (selection.filter !== undefined && !selection.filter(letter)) continue
        letters.push(letter)
        left--
      }
      if (letters.length > 0) yield letters
      if (page.length < PAGE || left === 0) return
    }
  }

  async function list(selection: DeadLetterSelection = {}): Promise<readonly DeadLetter[]> {
    const all: DeadLetter[] = []
    for await (const letters of select(selection)) all.push(...letters)
    return all
  }

  /** Publishes one page of copies, and deletes those dead letters whose copy was confirmed. */
  async function sendBack(
    letters: readonly DeadLetter[],
    signal: AbortSignal | undefined,
  ): Promise<{ redriven: number; failed: RedriveReport['failed'] }> {
    const failed: { id: string; error: Error }[] = []
    const confirmed: Position[] = []
    const copies = letters.map((letter) => makeRedrive(letter, parts.group))
    await new Promise<void>((resolve) => {
      let open = copies.length
      parts.publisher.send(copies, signal, (index, _position, error) => {
        const letter = letters[index] as DeadLetter
        if (error === undefined) confirmed.push(letter.position)
        else failed.push({ id: letter.message.id, error })
        if (--open === 0) resolve()
      })
    })
    if (confirmed.length > 0) await parts.admin.remove(topic, confirmed)
    return { redriven: confirmed.length, failed }
  }

  /** Copies for a group that nobody is in would be confirmed, and never be seen again. */
  async function requireGroup(): Promise<void> {
    if (!mayBeBroadcast(parts.group)) return
    const groups = await parts.admin.groups(parts.topic)
    if (groups.some(({ group }) => group === parts.group)) return
    throw new UnsupportedError(
      `Dead letters of broadcast consumers can't be sent back: each instance was a group of its own ("${parts.group}" is none). Publish what list() returns again, or purge`,
    )
  }

  async function redrive(options: RedriveOptions = {}): Promise<RedriveReport> {
    const { maxRedrives, ratePerSecond, signal } = options
    const filter = (letter: DeadLetter): boolean =>
      (maxRedrives === undefined || letter.redrives < maxRedrives) &&
      (options.filter === undefined || options.filter(letter))
    // Chosen first, as a whole: a redriven message that fails again comes back to this topic, and must wait for the next call.
    const letters = await list({ ids: options.ids, limit: options.limit, filter })
    if (options.dryRun === true) return { matched: letters.length, redriven: 0, failed: [] }
    await requireGroup()
    const failed: { id: string; error: Error }[] = []
    let redriven = 0
    const step = ratePerSecond === undefined ? PAGE : Math.max(1, Math.min(PAGE, Math.ceil(ratePerSecond / 10)))
    for (let at = 0; at < letters.length; at += step) {
      signal?.throwIfAborted()
      const some = letters.slice(at, at + step)
      const startedAt = parts.clock.monotonic()
      const result = await sendBack(some, signal)
      redriven += result.redriven
      failed.push(...result.failed)
      if (ratePerSecond === undefined || at + step >= letters.length) continue
      const rest = (some.length / ratePerSecond) * 1000 - (parts.clock.monotonic() - startedAt)
      if (rest > 0) await sleep(parts.clock, rest, signal)
    }
    parts.events.emit('redrive', {
      transport: parts.transportName,
      topic: parts.topic,
      group: parts.group,
      redriven,
      purged: 0,
    })
    return { matched: letters.length, redriven, failed }
  }

  async function purge(selection: DeadLetterSelection = {}): Promise<number> {
    let purged = 0
    // Positions alone: there may be more dead letters than memory.
    const positions: Position[] = []
    for await (const letters of select(selection)) for (const { position } of letters) positions.push(position)
    for (let at = 0; at < positions.length; at += PAGE)
      purged += await parts.admin.remove(topic, positions.slice(at, at + PAGE))
    parts.events.emit('redrive', {
      transport: parts.transportName,
      topic: parts.topic,
      group: parts.group,
      redriven: 0,
      purged,
    })
    return purged
  }

  return {
    topic,
    list,
    get: async (id) => (await list({ ids: [id], limit: 1 }))[0],
    redrive,
    purge,
  }
}
