import type { RedisDelivery } from './delivery.ts'
import { HAND_BACK } from './scripts/settle.ts'
import type { Seat } from './seat.ts'
import type { Source } from './source.ts'

/** Hands entries back, so that others may have them at once. Those that nobody has looked at count no attempt. */
export async function handBack(
  seat: Seat,
  source: Source,
  deliveries: readonly RedisDelivery[],
  countAttempt = false,
): Promise<void> {
  const generation = deliveries[0]?.generation
  if (generation === undefined || generation !== source.partition.generation) return
  const { context, member, spec } = seat
  const args = [spec.group, generation, member]
  for (const { id, attempt } of deliveries) args.push(id, '0', String(countAttempt ? attempt : attempt - 1))
  await context.scripts.run(HAND_BACK, [source.stream, source.partition.group.meta, source.later], args)
}
