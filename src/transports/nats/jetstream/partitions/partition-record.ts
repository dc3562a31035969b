import type { AttemptState } from '../../../../core/partitions/attempt-state.ts'
import type { DeliveryHistory } from '../../../../core/transport.ts'

/** Version of the stored form. */
export const RECORD_VERSION = 1

/** How far beyond `to` an owner may hand out messages before it has to write that down. */
export const AHEAD = 1_000

/** A message at or below `to` that is not settled. */
export interface OpenMessage extends AttemptState {
  readonly seq: number
  /** It is with a handler, or waits for one, at the owner. */
  readonly out: boolean
}

/**
 * Consecutive messages of the partition that were not handed out when the record was written: delayed ones. Both ends are
 * included. `suspect`: an owner that died may have handed them out since they were due.
 */
export type Span = readonly [first: number, last: number, count: number, suspect?: 1]

/** Messages that were seen to wait in the stream: if they are neither read nor there any more, they are lost. */
export interface Waiting {
  /** How many there were behind the position at which they were counted. */
  readonly count: number
  /** The last sequence of the stream at that time. */
  readonly last: number
  /** How many of them have been read since. */
  readonly read: number
}

/**
 * Who owns a partition and where the group stands in it: everything up to `to` is settled, except for what is open. Its
 * owner replaces it on condition of its last sequence, so that writing it is commit and fence in one.
 */
export interface PartitionRecord {
  /** The member that owns it, or owned it last. */
  readonly owner: string
  /** The session whose lease keeps it. */
  readonly session: string
  /** Increases with each write. */
  readonly version: number
  /** It was handed back in an orderly way: any member may take it. */
  readonly free: boolean
  /** Identity of the stream that the sequences belong to. */
  readonly stream: string
  /** Changes when the group is moved: what was dead-lettered before may be dead-lettered again. */
  readonly life: string
  /** The first message that was handed out in this life; 0 before. What is settled is not before it. */
  readonly first: number
  readonly to: number
  /** The owner has handed out nothing beyond this. */
  readonly reserved: number
  readonly open: readonly OpenMessage[]
  readonly spans: readonly Span[]
  readonly waiting: Waiting | undefined
}

/** What an owner writes into the record: everything but who it is. */
export type PartitionState = Pick<
  PartitionRecord,
  'stream' | 'life' | 'first' | 'to' | 'reserved' | 'open' | 'spans' | 'waiting'
>

/** Before anything was read of a stream. */
export const NOTHING_LEFT: PartitionState = {
  stream: '',
  life: '',
  first: 0,
  to: 0,
  reserved: 0,
  open: [],
  spans: [],
  waiting: undefined,
}

const LETTERS: Readonly<Record<DeliveryHistory, string>> = { new: 'n', returned: 'r', unknown: 'u', died: 'd' }
const HISTORIES: Readonly<Record<string, DeliveryHistory>> = { n: 'new', r: 'returned', u: 'unknown', d: 'died' }

/** As text. Most open messages take a number: the distance to the one before. */
export function encodeRecord(record: PartitionRecord): string {
  let before = 0
  const open = record.open.map((message) => {
    const { seq, out, history, used, running, notBefore, inOrder } = message
    const distance = seq - before
    before = seq
    if (out && history === 'new' && used === 0 && !running && notBefore === undefined) return distance
    const flags = `${LETTERS[history]}${out ? 'x' : ''}${running ? '!' : ''}${inOrder ? 'o' : ''}`
    return notBefore === undefined ? [distance, flags, used] : [distance, flags, used, notBefore]
  })
  return JSON.stringify({
    v: RECORD_VERSION,
    owner: record.owner,
    session: record.session,
    n: record.version,
    ...(record.free ? { free: true } : {}),
    stream: record.stream,
    life: record.life,
    ...(record.first > 0 ? { first: record.first } : {}),
    to: record.to,
    ...(record.reserved > record.to ? { up: record.reserved } : {}),
    ...(open.length > 0 ? { open } : {}),
    ...(record.spans.length > 0 ? { spans: record.spans } : {}),
    ...(record.waiting === undefined || record.waiting.last === Infinity ? {} : { waiting: record.waiting }),
  })
}

/** A record that another version of Busbar has written, or another program. */
export class ForeignRecordError extends Error {
  constructor(text: string, version: unknown) {
    super(
      version === undefined || version === RECORD_VERSION
        ? `is not a record of Busbar: ${text.slice(0, 100)}`
        : `was written by another version of Busbar (layout ${JSON.stringify(version)} instead of ${RECORD_VERSION}): run one version only, or delete the group (admin.deleteGroup)`,
    )
    this.name = 'ForeignRecordError'
  }
}

interface Stored {
  readonly v: number
  readonly owner: string
  readonly session: string
  readonly n: number
  readonly free?: boolean
  readonly stream: string
  readonly life?: string
  readonly first?: number
  readonly to: number
  readonly up?: number
  readonly open?: readonly (number | readonly [number, string, number, number?])[]
  readonly spans?: readonly Span[]
  readonly waiting?: Waiting
}

/** Throws `ForeignRecordError` for anything else. */
export function decodeRecord(text: string): PartitionRecord {
  let stored: Partial<Stored> = {}
  try {
    stored = (JSON.parse(text) as Partial<Stored> | null) ?? {}
  } catch {
    // Reported below.
  }
  const {
    v,
    owner,
    session,
    n,
    free = false,
    stream = '',
    life = '',
    first = 0,
    to,
    open = [],
    spans = [],
    waiting,
  } = stored
  if (
    v !== RECORD_VERSION ||
    typeof owner !== 'string' ||
    typeof session !== 'string' ||
    !Number.isInteger(n) ||
    !Number.isInteger(to)
  )
    throw new ForeignRecordError(text, v)
  let before = 0
  return {
    owner,
    session,
    version: n as number,
    free,
    stream,
    life,
    first,
    to: to as number,
    reserved: stored.up ?? (to as number),
    open: open.map((each) => {
      const [distance, flags = 'nx', used = 0, notBefore] = typeof each === 'number' ? [each] : each
      before += distance
      return {
        seq: before,
        out: flags.includes('x'),
        history: HISTORIES[flags[0] ?? ''] ?? 'unknown',
        used,
        running: flags.includes('!'),
        notBefore,
        inOrder: flags.includes('o'),
      }
    }),
    spans,
    waiting,
  }
}

/** Everything up to here is settled. */
export function floorOf({ to, open, spans }: Pick<PartitionRecord, 'to' | 'open' | 'spans'>): number {
  return Math.min(to, (open[0]?.seq ?? Infinity) - 1, (spans[0]?.[0] ?? Infinity) - 1)
}

/** Consecutive ones become one span. `ordinal`: the place of a message among those of its partition. */
export function spansOf(delayed: readonly { readonly place: number; readonly ordinal: number }[]): Span[] {
  const sorted = delayed.toSorted((a, b) => a.place - b.place)
  const spans: [number, number, number][] = []
  let before = Number.NaN
  for (const { place: seq, ordinal } of sorted) {
    const last = spans.at(-1)
    if (last !== undefined && ordinal === before + 1) {
      last[1] = seq
      last[2]++
    } else spans.push([seq, seq, 1])
    before = ordinal
  }
  return spans
}
