import { ConfigurationError } from '../../../core/errors.ts'
import { declareQueue, inequivalentArgument } from './declare-channel.ts'
import type { DeclareChannel, Drift } from './declare-channel.ts'
import { DEAD_KEYS } from './group-layout.ts'
import { GROUP_KEY } from './names.ts'
import type { Names } from './names.ts'
import type { ResolvedRabbitMqOptions } from '../options.ts'

const DURABLE = { durable: true } as const

/**
 * Declares what every bus needs: an exchange for messages, one for everything else, the queue of messages that the
 * broker itself gives up, and the list of groups. Delayed messages that no queue takes go to the alternate exchange, which exists once there
 * are delays.
 */
export async function declareExchanges(
  declaring: DeclareChannel,
  names: Names,
  queueArguments: Readonly<Record<string, unknown>>,
): Promise<readonly Drift[]> {
  try {
    await declaring.run((channel) =>
      Promise.all([
        channel.assertExchange(names.main, 'topic', { ...DURABLE, alternateExchange: names.unrouted }),
        channel.assertExchange(names.system, 'topic', DURABLE),
      ]),
    )
  } catch (error) {
    throw inequivalentArgument(error) === undefined ? error : otherExchange(error as Error, names)
  }
  const drifts = await declareQueue(declaring, names.deadLetters, { ...DURABLE, arguments: queueArguments }, [])
  const more = await declareQueue(declaring, names.groups, { ...DURABLE, arguments: queueArguments }, [])
  await declaring.run((channel) =>
    Promise.all([
      channel.bindQueue(names.deadLetters, names.system, DEAD_KEYS),
      channel.bindQueue(names.groups, names.system, GROUP_KEY),
    ]),
  )
  return [...drifts, ...more]
}

/** Declares the exchange that leads to single queues. Queues are bound to it when something is sent to them alone. */
export async function declareQueuesExchange(declaring: DeclareChannel, names: Names): Promise<void> {
  await declaring.run((channel) =>
    channel.assertExchange(names.queues, 'direct', { ...DURABLE, alternateExchange: names.unrouted }),
  )
}

function otherExchange({ message }: Error, { main }: Names): ConfigurationError {
  return new ConfigurationError(`The exchange "${main}"`, [
    {
      path: 'exchange',
      message: `exists in another form: it was made by another version of Busbar, or by hand. Choose another name (option exchange of rabbitmq()), or delete it. RabbitMQ says: ${message}`,
    },
  ])
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
