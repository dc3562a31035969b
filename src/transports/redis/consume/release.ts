import { RELEASE_ENTRIES } from '../scripts/settle.ts'
import type { MemberContext } from './member-context.ts'
import type { RedisDelivery, Source } from './source.ts'

/** Maximum number of entries in one script, which blocks the server while it runs. */
const CHUNK = 500
/** Its partition is ours as long as the generation says so. */
const FOREVER = String(Number.MAX_SAFE_INTEGER)

/** Hands entries back, so that others may have them at once. Their attempts and waiting times are unchanged. */
export async function releaseDeliveries(
  member: MemberContext,
  source: Source,
  deliveries: readonly RedisDelivery[],
): Promise<void> {
  const generation = deliveries[0]?.generation
  if (generation === undefined || generation !== source.partition.generation) return
  const { context, consumer, spec } = member
  for (let from = 0; from < deliveries.length; from += CHUNK) {
    const args = [spec.group, generation, consumer]
    for (const delivery of deliveries.slice(from, from + CHUNK)) {
      const { id, attempt, notBefore = 0 } = delivery
      args.push(id, '0', String(attempt - 1), String(notBefore), surelyOursUntil(member, delivery))
    }
    await context.scripts.run(
      RELEASE_ENTRIES,
      [source.stream, source.partition.group.meta, source.later, source.notes],
      args,
    )
  }
}

/**
 * Until then, by the clock of the server, no other member can have it: if the server does not know that it is ours, our
 * consumer was deleted with all it had. The server compares, because a command may be long on its way.
 */
export function surelyOursUntil({ owned, context }: MemberContext, { heldUntil }: RedisDelivery): string {
  return owned ? FOREVER : String(Math.floor(context.lease.serverTime(heldUntil)))
}
