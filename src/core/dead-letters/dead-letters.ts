import type {
  DeadLetter,
  DeadLetters,
  DeadLetterSelection,
  PurgeOptions,
  RedriveOptions,
  RedriveReport,
} from '../bus-types.ts'
import type { Clock } from '../clock.ts'
import type { CodecRegistry } from '../codec.ts'
import { DeadLetterPages } from './dead-letter-pages.ts'
import { resolvePurge, resolveRedrive, resolveSelection } from './dead-letter-options.ts'
import { InterruptedError, UnsupportedError } from '../errors.ts'
import type { InterruptedReport } from '../errors.ts'
import type { BusEvents } from '../events.ts'
import type { Publisher } from '../publish/publisher.ts'
import { Redrive } from './redrive.ts'
import { deadLetterTopic, mayBeBroadcast } from '../topic.ts'
import type { TransportAdmin } from '../transport.ts'
import type { Position } from '../message.ts'

/** Number of dead letters deleted in one call. */
const PURGE_STEP = 200

export interface DeadLettersParts {
  readonly topic: string
  readonly group: string
  readonly transportName: string
  readonly admin: TransportAdmin
  readonly publisher: Publisher
  readonly codecs: CodecRegistry
  readonly clock: Clock
  readonly events: BusEvents
}

/** Lists, redrives and purges the dead letters of one topic and group. */
export function deadLettersOf(parts: DeadLettersParts): DeadLetters {
  const { admin, clock, codecs, group, publisher } = parts
  const topic = deadLetterTopic(parts.topic, group)
  const pages = (): DeadLetterPages => new DeadLetterPages(admin, topic, parts.topic, codecs)

  async function* select(
    { ids, filter, limit = Infinity }: DeadLetterSelection,
    signal?: AbortSignal,
  ): AsyncGenerator<DeadLetter[]> {
    const chosen = chooser(ids, filter)
    const reader = pages()
    let left = limit
    let after: Position | undefined
    while (left > 0) {
      signal?.throwIfAborted()
      const { stored, letters, isLast } = await reader.read(after)
      const some: DeadLetter[] = []
      for (const letter of letters) if (some.length < left && chosen(letter)) some.push(letter)
      left -= some.length
      yield some
      if (isLast) return
      after = stored.at(-1)?.position
    }
  }

  async function list(selection?: DeadLetterSelection): Promise<readonly DeadLetter[]> {
    const all: DeadLetter[] = []
    for await (const letters of select(resolveSelection(call('list'), selection))) all.push(...letters)
    return all
  }

  async function get(id: string): Promise<DeadLetter | undefined> {
    const selection = resolveSelection(call('get'), { ids: [id], limit: 1 })
    for await (const [letter] of select(selection)) if (letter !== undefined) return letter
    return undefined
  }

  /** Copies for a group without members would be confirmed, but never delivered. */
  async function requireGroup(): Promise<void> {
    if (!mayBeBroadcast(group)) return
    const groups = await admin.groups(parts.topic)
    if (groups.some((each) => each.group === group)) return
    throw new UnsupportedError(
      `Dead letters of broadcast consumers can't be sent back: each instance was a separate group ("${group}" is none). Publish what list() returns again, or purge`,
    )
  }

  /** An empty result may come from a mistyped name, which would look like a success. */
  async function warnIfUnknown(): Promise<void> {
    if (mayBeBroadcast(group)) return
    // The work is done: a broker that can't answer changes nothing about it.
    const groups = await admin.groups(parts.topic).catch(() => undefined)
    if (groups === undefined || groups.some((each) => each.group === group)) return
    const names = [...new Set(groups.map((each) => `"${each.group}"`))].join(', ')
    parts.events.emit('warning', {
      transport: parts.transportName,
      code: 'unknown-group',
      detail: `"${topic}" holds no dead letters, and topic "${parts.topic}" has no group "${group}"; ${names === '' ? 'it has no groups at all: is its name right?' : `its groups are: ${names}`}`,
    })
  }

  async function redrive(given?: RedriveOptions): Promise<RedriveReport> {
    const options = resolveRedrive(call('redrive'), given)
    const chosen = chooser(options.ids, options.filter)
    const run = new Redrive({ group, topic, admin, publisher, clock, pages, chosen }, options)
    const progress = (): InterruptedReport => ({ ...run.report, purged: 0 })
    await whole('redrive', progress, options, async () => {
      await run.choose()
      if (run.report.matched === 0) await warnIfUnknown()
      if (options.dryRun === true) return
      await requireGroup()
      await run.send()
    })
    return run.report
  }

  async function purge(given?: PurgeOptions): Promise<number> {
    const options = resolvePurge(call('purge'), given)
    // Keeps only positions: the dead letters may not fit in memory.
    const positions: Position[] = []
    let purged = 0
    const progress = (): InterruptedReport => ({ matched: positions.length, redriven: 0, purged, failed: [] })
    await whole('purge', progress, options, async () => {
      for await (const letters of select(options, options.signal))
        for (const { position } of letters) positions.push(position)
      if (positions.length === 0) await warnIfUnknown()
      // Last ones first: where a position is an index among messages with the same id, earlier positions stay valid.
      for (let end = positions.length; end > 0; end -= PURGE_STEP) {
        options.signal?.throwIfAborted()
        purged += await admin.remove(topic, positions.slice(Math.max(0, end - PURGE_STEP), end))
      }
    })
    return purged
  }

  /** Emits a report however the work ends. When it ends halfway, the error carries the report so far. */
  async function whole(
    name: 'redrive' | 'purge',
    progress: () => InterruptedReport,
    { signal, dryRun }: Pick<RedriveOptions, 'signal' | 'dryRun'>,
    work: () => Promise<void>,
  ): Promise<void> {
    try {
      await work()
      if (dryRun !== true) emit(progress(), true)
    } catch (error) {
      const report = progress()
      const isStarted = report.redriven + report.purged + report.failed.length > 0
      if (isStarted) emit(report, false)
      const aborted = signal?.aborted === true
      if (!isStarted && !aborted) throw error
      const done = name === 'redrive' ? report.redriven : report.purged
      throw new InterruptedError(
        `The ${name} of "${topic}" ${aborted ? 'was aborted' : 'failed'} after ${done} of ${report.matched} dead letters; call it again for the rest`,
        { report, aborted, cause: aborted ? signal.reason : error },
      )
    }
  }

  function emit({ redriven, purged, failed }: InterruptedReport, complete: boolean): void {
    const transport = parts.transportName
    parts.events.emit('redrive', {
      transport,
      topic: parts.topic,
      group,
      redriven,
      purged,
      failed: failed.length,
      complete,
    })
  }

  function call(method: string): string {
    return `deadLetters("${parts.topic}", "${group}").${method}()`
  }

  return { topic, list, get, redrive, purge }
}

function chooser(
  ids: readonly string[] | undefined,
  filter: ((letter: DeadLetter) => boolean) | undefined,
): (letter: DeadLetter) => boolean {
  const wanted = ids === undefined ? undefined : new Set(ids)
  return (letter) => (wanted === undefined || wanted.has(letter.message.id)) && (filter === undefined || filter(letter))
}
