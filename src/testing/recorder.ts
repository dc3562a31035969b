import type { BusEventMap, BusEventName, BusEvents } from '../core/events.ts'
import { waitUntil } from './wait-until.ts'
import type { WaitOptions } from './wait-until.ts'

/** An event and when it was emitted. */
export interface RecordedEvent<Name extends BusEventName = BusEventName> {
  readonly name: Name
  readonly event: BusEventMap[Name]
  /** `performance.now()` when it was emitted. */
  readonly at: number
}

/** Selects recorded events by their payload. */
export type EventFilter<Name extends BusEventName> = (event: BusEventMap[Name]) => boolean

/** All events that a bus emitted since `recorder(bus)`. */
export interface Recorder {
  /** All events in the order in which they were emitted. */
  readonly all: readonly RecordedEvent[]
  /** Recorded events of this name that pass the filter. */
  of<Name extends BusEventName>(name: Name, filter?: EventFilter<Name>): readonly BusEventMap[Name][]
  /** Number of events of this name that pass the filter. */
  count<Name extends BusEventName>(name: Name, filter?: EventFilter<Name>): number
  /**
   * Resolves with the first matching event, including those already recorded; rejects with a `TimeoutError` that lists
   * the counts.
   */
  waitFor<Name extends BusEventName>(
    name: Name,
    filter?: EventFilter<Name>,
    options?: Pick<WaitOptions, 'timeoutMs' | 'signal'>,
  ): Promise<BusEventMap[Name]>
  /** Number of events of each name. */
  counts(): Readonly<Partial<Record<BusEventName, number>>>
  /** Forgets what was recorded. */
  clear(): void
  /** Stops recording. Recorded events stay. */
  stop(): void
}

/** A recorder forgotten in a long run must not fill the memory. */
const MAX_EVENTS = 200_000

/** Records the events of a bus (or of anything that has `events`). After 200,000, further ones are only counted. */
export function recorder(
  source: { readonly events: BusEvents },
  options: {
    /** For `waitFor`, in ms. Default 10,000. */
    readonly timeoutMs?: number | undefined
  } = {},
): Recorder {
  let recorded: RecordedEvent[] = []
  let totals = new Map<BusEventName, number>()
  const stop = source.events.onAny((name, event) => {
    totals.set(name, (totals.get(name) ?? 0) + 1)
    if (recorded.length < MAX_EVENTS) recorded.push({ name, event, at: performance.now() })
  })

  const of = <Name extends BusEventName>(name: Name, filter?: EventFilter<Name>): BusEventMap[Name][] => {
    const found: BusEventMap[Name][] = []
    for (const entry of recorded) {
      if (entry.name !== name) continue
      const event = entry.event as BusEventMap[Name]
      if (filter === undefined || filter(event)) found.push(event)
    }
    return found
  }
  const counts = (): Partial<Record<BusEventName, number>> => Object.fromEntries(totals)

  return {
    get all() {
      return recorded
    },
    of,
    count: (name, filter) => (filter === undefined ? (totals.get(name) ?? 0) : of(name, filter).length),
    waitFor: (name, filter, wait) =>
      waitUntil(() => of(name, filter)[0], {
        timeoutMs: options.timeoutMs,
        ...wait,
        describe: () => `no "${name}" event that fits; events so far: ${JSON.stringify(counts())}`,
      }),
    counts,
    clear() {
      recorded = []
      totals = new Map()
    },
    stop,
  }
}
