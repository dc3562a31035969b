import { ConfigurationError } from '../../../core/errors.ts'
import type { StartFrom } from '../../../core/transport.ts'

const ID = /^\d{1,20}-\d{1,20}$/
const LAST_SEQUENCE = '18446744073709551615'

/** The id after which a group reads, for XGROUP: `0`, `$`, or the one just before the start position. */
export function startId(from: StartFrom, partition: number): string {
  if (from === 'earliest') return '0'
  if (from === 'latest') return '$'
  if ('timeMs' in from) return idBefore(`${Math.max(0, Math.ceil(from.timeMs))}-0`)
  const id = String(from.position['id'])
  if (!ID.test(id))
    throw new ConfigurationError('The position', [
      { path: 'position.id', message: 'must be the id of a stream entry, such as "1700000000000-0"' },
    ])
  // In the other partitions the group begins at the same time.
  return idBefore(Number(from.position['partition']) === partition ? id : `${id.split('-')[0]}-0`)
}

/** The id just before. */
export function idBefore(id: string): string {
  const [ms = 0n, sequence = 0n] = id.split('-').map(BigInt)
  if (sequence > 0n) return `${ms}-${sequence - 1n}`
  return ms > 0n ? `${ms - 1n}-${LAST_SEQUENCE}` : '0'
}
