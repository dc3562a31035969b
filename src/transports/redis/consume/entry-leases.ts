import type { DeliverySink } from '../../../core/transport.ts'
import { surelyOursUntil } from './release.ts'
import { EXTEND } from '../scripts/settle.ts'
import type { MemberContext } from './member-context.ts'
import type { RedisDelivery, Source } from './source.ts'

/** Where partitions have no owner, each entry has its own lease: its idle time at the server. This renews them. */
export async function extendLeases(
  member: MemberContext,
  deliveries: readonly RedisDelivery[],
  sink: DeliverySink,
): Promise<void> {
  const bySource = new Map<Source, RedisDelivery[]>()
  for (const delivery of deliveries) {
    if (delivery.lost || delivery.settled) continue
    const list = bySource.get(delivery.source)
    if (list === undefined) bySource.set(delivery.source, [delivery])
    else list.push(delivery)
  }
  await Promise.all([...bySource].map(([source, list]) => extendSource(member, source, list, sink)))
}

async function extendSource(
  member: MemberContext,
  source: Source,
  deliveries: readonly RedisDelivery[],
  sink: DeliverySink,
): Promise<void> {
  const { context, spec, consumer } = member
  const { scripts, options, host } = context
  const now = host.clock.monotonic()
  const heldUntil = now + options.leaseMs
  const { generation } = deliveries[0] as RedisDelivery
  const refused = (await scripts.run(
    EXTEND,
    [source.stream, source.partition.group.meta],
    [
      spec.group,
      generation,
      consumer,
      ...deliveries.flatMap((delivery) => [delivery.id, surelyOursUntil(member, delivery)]),
    ],
  )) as readonly number[]
  const lost = new Set(refused.map((place) => deliveries[place] as RedisDelivery).filter(({ settled }) => !settled))
  for (const delivery of deliveries) if (!lost.has(delivery)) delivery.heldUntil = heldUntil
  for (const delivery of lost) {
    delivery.lost = true
    if (delivery.listed) source.outstanding.remove(delivery)
    delivery.listed = false
  }
  if (lost.size > 0) sink.lost([...lost], 'another member has claimed it, because its lease ran out')
}
