import type { Position } from '../../../core/message.ts'
import type { Admin, KafkaRecord } from '../../../kafka/index.ts'
import { placeOf } from '../wire/mapping.ts'
import { codeOf } from './error-code.ts'

/** A record, and where it is in the order of the topic. */
export interface PlacedRecord {
  readonly partition: number
  readonly record: KafkaRecord
  /** The newest time of the partition up to this record: the order of the log, whatever clocks its producers have. */
  readonly timeMs: number
}

/** Reads a topic in the order of time, and each partition in its own: the records behind a position, or all. */
export async function readStoredRange(
  admin: Admin,
  topic: string,
  partitions: readonly number[],
  after: Position | undefined,
  limit: number,
): Promise<readonly PlacedRecord[]> {
  const starts = await startsOf(admin, topic, after)
  const pages = await Promise.all(
    partitions.map(async (partition) => {
      const start = starts.get(partition)
      return start === undefined
        ? []
        : readPartition(admin, { topic, partition, offset: start.offset }, start.timeMs, limit)
    }),
  )
  return pages
    .flat()
    .sort((a, b) => a.timeMs - b.timeMs || a.partition - b.partition || a.record.offset - b.record.offset)
    .slice(0, limit)
}

/** The first records of each partition that are not older than the record at a position; in its own partition, that record. */
export async function offsetsFrom(
  admin: Admin,
  topic: string,
  position: Position,
): Promise<ReadonlyMap<number, number>> {
  const place = placeOf(position)
  const offsets = new Map<number, number>()
  if (place === undefined) return offsets
  const timeMs = await timeOf(admin, topic, place)
  const found = timeMs === undefined ? [] : await offsetsOfTime(admin, topic, timeMs)
  for (const [partition, offset] of found) offsets.set(partition, offset)
  return offsets.set(place.partition, place.offset)
}

/** The first offset of each partition whose record is not older; the end where there is none. */
export async function offsetsOfTime(admin: Admin, topic: string, timeMs: number): Promise<ReadonlyMap<number, number>> {
  const [found, ends] = await Promise.all([
    admin.records.offsets(topic, { timestampMs: Math.max(0, Math.ceil(timeMs)) }),
    admin.records.offsets(topic, 'latest', { committed: true }),
  ])
  const endOf = new Map(ends.map(({ partition, offset }) => [partition, offset]))
  return new Map(found.map(({ partition, offset }) => [partition, offset < 0 ? (endOf.get(partition) ?? 0) : offset]))
}

interface Place {
  readonly partition: number
  readonly offset: number
}

interface Start {
  readonly offset: number
  /** Of the record before; it can only rise. */
  readonly timeMs: number
}

async function startsOf(admin: Admin, topic: string, after: Position | undefined): Promise<ReadonlyMap<number, Start>> {
  const firsts = await admin.records.offsets(topic, 'earliest')
  const starts = new Map(firsts.map(({ partition, offset }) => [partition, { offset, timeMs: 0 }]))
  const place = after === undefined ? undefined : placeOf(after)
  if (place === undefined) return starts
  const timeMs = (await timeOf(admin, topic, place)) ?? 0
  // Of two partitions with the same time, the lower one comes first.
  const [same, later] = await Promise.all([
    offsetsOfTime(admin, topic, timeMs),
    offsetsOfTime(admin, topic, timeMs + 1),
  ])
  for (const [partition, { offset: first }] of starts) {
    const offset =
      partition === place.partition
        ? place.offset + 1
        : ((partition < place.partition ? later : same).get(partition) ?? first)
    starts.set(partition, { offset: Math.max(first, offset), timeMs: partition === place.partition ? timeMs : 0 })
  }
  return starts
}

/** The newest time up to the record at a position, in its partition; undefined if the record is no longer there. */
async function timeOf(admin: Admin, topic: string, place: Place): Promise<number | undefined> {
  const time = await recordTime(admin, topic, place)
  if (time === undefined || !(await isNewerBefore(admin, topic, place, time))) return time
  // Its producer's clock was behind that of another one: the newest time before it is looked for.
  let [below, above] = [time, time + 1]
  while (await isNewerBefore(admin, topic, place, above)) [below, above] = [above, above + 2 * (above - time)]
  while (above - below > 1) {
    const middle = below + Math.floor((above - below) / 2)
    if (await isNewerBefore(admin, topic, place, middle)) below = middle
    else above = middle
  }
  return above
}

/** Whether a record up to that place is newer than that time. */
async function isNewerBefore(
  admin: Admin,
  topic: string,
  { partition, offset }: Place,
  timeMs: number,
): Promise<boolean> {
  const found = await admin.records.offsets(topic, { timestampMs: timeMs + 1 })
  const first = found.find((each) => each.partition === partition)?.offset ?? -1
  return first >= 0 && first < offset
}

async function recordTime(admin: Admin, topic: string, place: Place): Promise<number | undefined> {
  try {
    const { records } = await admin.records.read({ topic, ...place }, { maxRecords: 1 })
    return records[0] === undefined ? undefined : Math.max(0, records[0].timestamp)
  } catch (error) {
    if (isOutOfRange(error)) return undefined
    throw error
  }
}

async function readPartition(
  admin: Admin,
  place: { readonly topic: string; readonly partition: number; readonly offset: number },
  timeMs: number,
  limit: number,
): Promise<readonly PlacedRecord[]> {
  try {
    const { records } = await admin.records.read(place, { maxRecords: limit })
    let newest = timeMs
    return records.map((record) => {
      newest = Math.max(newest, record.timestamp)
      return { partition: place.partition, record, timeMs: newest }
    })
  } catch (error) {
    // Retention has removed it meanwhile, or it is behind the end.
    if (!isOutOfRange(error)) throw error
    const [first] = (await admin.records.offsets(place.topic, 'earliest')).filter(
      (each) => each.partition === place.partition,
    )
    if (first === undefined || first.offset <= place.offset) return []
    return readPartition(admin, { ...place, offset: first.offset }, timeMs, limit)
  }
}

function isOutOfRange(error: unknown): boolean {
  return codeOf(error) === 'OFFSET_OUT_OF_RANGE'
}
