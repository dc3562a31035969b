import { declareQueue } from './declare-channel.ts'
import type { DeclareChannel, Drift } from './declare-channel.ts'
import type { Names } from './names.ts'
import type { ResolvedRabbitMqOptions } from './options.ts'

const DURABLE = { durable: true } as const

/** Declares what every bus needs: its exchanges, and the queue for delayed messages that no queue took. */
export async function declareExchanges(
  declaring: DeclareChannel,
  names: Names,
  queueArguments: Readonly<Record<string, unknown>>,
): Promise<readonly Drift[]> {
  await declaring.run((channel) =>
    Promise.all([
      channel.assertExchange(names.main, 'topic', DURABLE),
      channel.assertExchange(names.groups, 'topic', DURABLE),
      channel.assertExchange(names.deadLetters, 'topic', DURABLE),
      channel.assertExchange(names.internal, 'direct', DURABLE),
      channel.assertExchange(names.unrouted, 'fanout', DURABLE),
      channel.assertExchange(names.late, 'topic', { ...DURABLE, alternateExchange: names.unrouted }),
      channel.assertExchange(names.lateGroups, 'topic', { ...DURABLE, alternateExchange: names.unrouted }),
    ]),
  )
  const drifts = await declareQueue(declaring, names.unrouted, { ...DURABLE, arguments: queueArguments }, [])
  await declaring.run((channel) => channel.bindQueue(names.unrouted, names.unrouted, ''))
  return drifts
}

/** Declares a queue for the transport's own messages, bound by its name. */
export async function declareInternalQueue(
  declaring: DeclareChannel,
  names: Names,
  queue: string,
  queueArguments: Readonly<Record<string, unknown>>,
): Promise<readonly Drift[]> {
  const drifts = await declareQueue(declaring, queue, { ...DURABLE, arguments: queueArguments }, [])
  await declaring.run((channel) => channel.bindQueue(queue, names.internal, queue))
  return drifts
}

/** Declares the user's topology. */
export async function declareTopology(
  declaring: DeclareChannel,
  { exchanges, queues, bindings }: ResolvedRabbitMqOptions['topology'],
): Promise<void> {
  if (exchanges.length + queues.length + bindings.length === 0) return
  await declaring.run(async (channel) => {
    // One after another: an alternate or dead-letter exchange should exist before what names it.
    for (const { name, type, durable, autoDelete, internal, alternateExchange, arguments: args } of exchanges)
      await channel.assertExchange(name, type, { durable, autoDelete, internal, alternateExchange, arguments: args })
    for (const { name, durable, autoDelete, arguments: args } of queues)
      await channel.assertQueue(name, { durable, autoDelete, arguments: args })
    for (const { from, toQueue, toExchange, routingKey = '', arguments: args } of bindings) {
      if (toQueue !== undefined) await channel.bindQueue(toQueue, from, routingKey, args)
      else await channel.bindExchange(toExchange ?? '', from, routingKey, args)
    }
  })
}
