import { ConfigurationError } from '../../../core/errors.ts'
import type { StartFrom } from '../../../core/transport.ts'
import type { Admin } from '../../../kafka/index.ts'
import { placeOf } from '../wire/mapping.ts'
import { offsetsFrom, offsetsOfTime } from './stored-range.ts'

/** Where each partition of a topic is to be read from. */
export async function startOffsets(admin: Admin, topic: string, from: StartFrom): Promise<ReadonlyMap<number, number>> {
  if (typeof from === 'string') {
    const found = await admin.records.offsets(topic, from, { committed: from === 'latest' })
    return new Map(found.map(({ partition, offset }) => [partition, offset]))
  }
  if ('timeMs' in from) return offsetsOfTime(admin, topic, from.timeMs)
  if (placeOf(from.position) === undefined)
    throw new ConfigurationError('The position', [
      { path: 'position', message: 'must have a partition and an offset, such as { partition: 0, offset: 42 }' },
    ])
  return offsetsFrom(admin, topic, from.position)
}
