import { crc32 } from 'node:zlib'
import type { AttemptState } from '../../../core/partitions/attempt-state.ts'
import type { DeliveryHistory } from '../../../core/transport.ts'
import { packRuns, unpackRuns } from './packed-runs.ts'

/** How the text begins: the name of the format, and its version. */
const PREFIX = 'bb1.'
/** What the broker takes by default, in characters. */
export const MAX_RECORD_CHARACTERS = 4_096
/** What one delivery that is handed out may add: a gap in a run, and its attempts. */
export const RESERVED_PER_DELIVERY = 12
/** What one delivery that the record has may add later: the gap that it leaves, or how many attempts it has used, and the time of a retry. */
export const RESERVED_PER_NOTE = 8
/** What the time of a retry may take: up to a month after that of the first. */
const BYTES_OF_TIME = 4
const OWNER_BYTES = 6
const CRC_BYTES = 4

/** Unfinished records from `first` to `last`, of those that exist there. */
export type OpenRun = readonly [first: number, last: number]

/** What is known of one unfinished record, beyond that it is not finished. */
export interface OffsetNote extends AttemptState {
  readonly offset: number
}

/**
 * What the metadata of a commit says about one partition and group: with the offset itself, everything that the next owner must
 * know. Every record below `to` is finished, but for those in `open`.
 */
export interface CommitRecord {
  /** The offset that it was committed with: the first that is not finished. */
  readonly floor: number
  /** Of the topic's id: a topic that was made again has other records. */
  readonly topic: number
  /** The member that has written it: 8 characters of base64url. */
  readonly owner: string
  /** It was handed back in an orderly way. */
  readonly free: boolean
  readonly to: number
  /** Nothing from here on has been handed out. Of a free one: nothing from here on by an owner that died before. */
  readonly claim: number
  /** The last move of the group that was carried out here. */
  readonly moved: number
  /** How many partitions the topic had when the group began; 0 if that is not known. */
  readonly partitions: number
  /** In order. */
  readonly open: readonly OpenRun[]
  /** In order. */
  readonly notes: readonly OffsetNote[]
}

/** Of a group that has committed nothing there. */
export function emptyRecord(offset: number): CommitRecord {
  return {
    floor: offset,
    topic: 0,
    owner: '',
    free: true,
    to: offset,
    claim: offset,
    moved: 0,
    partitions: 0,
    open: [],
    notes: [],
  }
}

const HISTORIES: readonly DeliveryHistory[] = ['new', 'returned', 'unknown', 'died']
const [FREE, PACKED] = [1, 2]
/** Fewer runs are written as numbers of whole bytes. */
const LEAST_PACKED = 64
const [RUNNING, IN_ORDER, HAS_TIME, USED_SHIFT] = [4, 8, 16, 5]
/** More than that follows in a number of its own. */
const MANY_USED = 7
/** Times are written in steps of so many ms, rounded up: a retry never comes too early. */
const STEP_MS = 16

/** As text. */
export function encodeRecord(record: CommitRecord): string {
  const { floor, to, claim, open, notes } = record
  const writer = new Writer()
  const packed = open.length < LEAST_PACKED ? undefined : packedIfShorter(open, floor)
  writer.number((record.free ? FREE : 0) + (packed === undefined ? 0 : PACKED))
  writer.number(floor)
  writer.number(record.topic)
  writer.bytes(Buffer.from(record.owner, 'base64url'), OWNER_BYTES)
  writer.number(Math.max(0, claim - floor))
  writer.number(record.moved)
  writer.number(record.partitions)
  writer.number(open.length)
  let at = floor
  if (packed !== undefined) {
    writer.number(packed.length)
    writer.bytes(packed, packed.length)
    at = (open.at(-1) as OpenRun)[1] + 1
  } else {
    for (const [first, last] of open) {
      writer.number(first - at)
      writer.number(last - first)
      at = last + 1
    }
  }
  writer.number(Math.max(0, to - at))
  writer.number(notes.length)
  let base = Infinity
  for (const { notBefore } of notes) if (notBefore !== undefined) base = Math.min(base, notBefore)
  if (notes.length > 0) writer.number(base === Infinity ? 0 : base)
  at = floor
  for (const { offset, history, used, running, notBefore, inOrder } of notes) {
    writer.number(offset - at)
    at = offset
    const flags =
      HISTORIES.indexOf(history) +
      (running ? RUNNING : 0) +
      (inOrder ? IN_ORDER : 0) +
      (notBefore === undefined ? 0 : HAS_TIME) +
      (Math.min(used, MANY_USED) << USED_SHIFT)
    writer.number(flags)
    if (used >= MANY_USED) writer.number(used - MANY_USED)
    if (notBefore !== undefined) writer.number(Math.ceil((notBefore - base) / STEP_MS))
  }
  return PREFIX + writer.text()
}

/** How many bytes more these may take when each has waited for a time of its own. */
export function roomForTimes(notes: readonly OffsetNote[]): number {
  let base = Infinity
  for (const { notBefore } of notes) if (notBefore !== undefined && notBefore < base) base = notBefore
  let bytes = 0
  for (const { notBefore } of notes) {
    const taken = notBefore === undefined ? 0 : bytesOfNumber(Math.ceil((notBefore - base) / STEP_MS))
    bytes += Math.max(0, BYTES_OF_TIME - taken)
  }
  return bytes
}

function packedIfShorter(open: readonly OpenRun[], floor: number): Buffer | undefined {
  const packed = packRuns(open, floor)
  let [plain, at] = [0, floor]
  for (const [first, last] of open) {
    plain += bytesOfNumber(first - at) + bytesOfNumber(last - first)
    at = last + 1
  }
  return packed === undefined || packed.length + bytesOfNumber(packed.length) >= plain ? undefined : packed
}

function bytesOfNumber(value: number): number {
  let bytes = 1
  for (let left = value; left >= 0x80; left = Math.floor(left / 0x80)) bytes++
  return bytes
}

/**
 * Undefined for everything else: other programs keep text of their own there, and a record may belong to another offset (somebody
 * has moved the group), or be damaged.
 */
export function decodeRecord(text: string, offset: number): CommitRecord | undefined {
  if (!text.startsWith(PREFIX)) return undefined
  try {
    const record = read(new Reader(Buffer.from(text.slice(PREFIX.length), 'base64url')))
    return record.floor === offset ? record : undefined
  } catch (error) {
    if (error instanceof UnreadableError) return undefined
    throw error
  }
}

/** True for text that a version of Busbar has written, readable or not. */
export function isOurs(text: string): boolean {
  return /^bb\d+\./.test(text)
}

/** A short stand-in for the id of a topic. */
export function hashOfTopic(id: string): number {
  return crc32(id)
}

function read(reader: Reader): CommitRecord {
  const flags = reader.number()
  const floor = reader.number()
  const topic = reader.number()
  const owner = reader.bytes(OWNER_BYTES).toString('base64url')
  const claim = floor + reader.number()
  const moved = reader.number()
  const partitions = reader.number()
  const open = (flags & PACKED) === 0 ? readRuns(reader, floor) : readPackedRuns(reader, floor)
  let at = (open.at(-1)?.[1] ?? floor - 1) + 1
  const to = at + reader.number()
  const notes: OffsetNote[] = []
  const count = reader.count()
  const base = count > 0 ? reader.number() : 0
  at = floor
  for (let left = count; left > 0; left--) {
    at += reader.number()
    const noted = reader.number()
    let used = noted >> USED_SHIFT
    if (used === MANY_USED) used += reader.number()
    const notBefore = (noted & HAS_TIME) === 0 ? undefined : base + reader.number() * STEP_MS
    const history = HISTORIES[noted & 3] as DeliveryHistory
    notes.push({
      offset: at,
      history,
      used,
      running: (noted & RUNNING) !== 0,
      notBefore,
      inOrder: (noted & IN_ORDER) !== 0,
    })
  }
  reader.end()
  if (!Number.isSafeInteger(to) || !Number.isSafeInteger(claim)) throw new UnreadableError()
  return { floor, topic, owner, free: (flags & FREE) !== 0, to, claim, moved, partitions, open, notes }
}

function readRuns(reader: Reader, floor: number): OpenRun[] {
  const open: OpenRun[] = []
  let at = floor
  for (let left = reader.count(); left > 0; left--) {
    const first = at + reader.number()
    const last = first + reader.number()
    open.push([first, last])
    at = last + 1
  }
  return open
}

function readPackedRuns(reader: Reader, floor: number): OpenRun[] {
  const count = reader.number()
  const open = unpackRuns(reader.bytes(reader.number()), count, floor)
  if (open === undefined) throw new UnreadableError()
  return open
}

/** Not written by this version. */
class UnreadableError extends Error {}

/** Numbers of 7 bits per byte, the lowest first, behind a checksum. */
class Writer {
  #bytes = Buffer.allocUnsafe(256)
  #at = CRC_BYTES

  number(value: number): void {
    this.#reserve(8)
    let left = value
    while (left >= 0x80) {
      this.#bytes[this.#at++] = (left % 0x80) | 0x80
      left = Math.floor(left / 0x80)
    }
    this.#bytes[this.#at++] = left
  }

  /** Exactly so many. */
  bytes(bytes: Uint8Array, count: number): void {
    this.#reserve(count)
    this.#bytes.fill(0, this.#at, this.#at + count)
    this.#bytes.set(bytes.subarray(0, count), this.#at)
    this.#at += count
  }

  text(): string {
    this.#bytes.writeUInt32LE(crc32(this.#bytes.subarray(CRC_BYTES, this.#at)), 0)
    return this.#bytes.toString('base64url', 0, this.#at)
  }

  #reserve(count: number): void {
    if (this.#at + count <= this.#bytes.length) return
    this.#bytes = Buffer.concat([this.#bytes, Buffer.allocUnsafe(Math.max(this.#bytes.length, count))])
  }
}

/** Trusts no length before it is compared with what is left. */
class Reader {
  readonly #bytes: Buffer
  #at = CRC_BYTES

  constructor(bytes: Buffer) {
    this.#bytes = bytes
    if (bytes.length < CRC_BYTES || crc32(bytes.subarray(CRC_BYTES)) !== bytes.readUInt32LE(0))
      throw new UnreadableError()
  }

  number(): number {
    let value = 0
    for (let scale = 1; scale <= Number.MAX_SAFE_INTEGER; scale *= 0x80) {
      const byte = this.#bytes[this.#at++]
      if (byte === undefined) throw new UnreadableError()
      value += (byte & 0x7f) * scale
      if (byte < 0x80) return value
    }
    throw new UnreadableError()
  }

  /** Of items that take two bytes or more. */
  count(): number {
    const count = this.number()
    if (count * 2 > this.#bytes.length - this.#at) throw new UnreadableError()
    return count
  }

  bytes(count: number): Buffer {
    const end = this.#at + count
    if (end > this.#bytes.length) throw new UnreadableError()
    const bytes = this.#bytes.subarray(this.#at, end)
    this.#at = end
    return bytes
  }

  end(): void {
    if (this.#at !== this.#bytes.length) throw new UnreadableError()
  }
}
