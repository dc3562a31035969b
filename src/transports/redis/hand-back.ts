import type { RedisDelivery } from './delivery.ts'
import { HAND_BACK } from './scripts/settle.ts'
import type { Seat } from './seat.ts'
import type { Source } from './source.ts'

/** Maximum number of entries in one script, which blocks the server while it runs. */
const CHUNK = 500

/** Hands entries back, so that others may have them at once. Their attempts and waiting times are unchanged. */
export async function handBack(seat: Seat, source: Source, deliveries: readonly RedisDelivery[]): Promise<void> {
  const generation = deliveries[0]?.generation
  if (generation === undefined || generation !== source.partition.generation) return
  const { context, member, owned, spec } = seat
  for (let from = 0; from < deliveries.length; from += CHUNK) {
    const args = [spec.group, generation, member, owned ? '1' : '0']
    for (const { id, attempt, notBefore = 0 } of deliveries.slice(from, from + CHUNK))
      args.push(id, '0', String(attempt - 1), String(notBefore))
    await context.scripts.run(HAND_BACK, [source.stream, source.partition.group.meta, source.later, source.notes], args)
  }
}
