import type { ChannelModel } from 'amqplib'
import { ConnectionError } from '../../../core/errors.ts'
import { closeQuietly } from '../connection/amqp.ts'
import type { Connector } from '../connection/connector.ts'
import type { DeclareChannel, Drift } from '../topology/declare-channel.ts'
import { declareDue } from './delay-ladder.ts'
import { REPLY, replyCode } from '../errors.ts'
import type { QueueArguments } from '../topology/group-topology.ts'
import type { Names } from '../topology/names.ts'

const TYPE = 'x-delayed-message'

/** The plugin's maximum is 2^32 - 1 ms. */
export const MAX_PLUGIN_DELAY_MS = 4_294_967_295

/**
 * Whether the broker has the delayed-message plugin. The broker closes the whole connection for an unknown exchange
 * type, so this uses a separate one: to the address of `attempt`, which has just worked, or to the next ones.
 */
export async function hasDelayPlugin(
  connector: Connector,
  names: Names,
  attempt: number,
  signal: AbortSignal,
): Promise<boolean> {
  if (!connector.reconnects) return false
  const model = await connectToAny(connector, attempt, signal)
  let failure: unknown
  model.on('error', (error) => {
    failure ??= error
  })
  try {
    const channel = await model.createChannel()
    channel.on('error', () => undefined)
    await channel.assertExchange(names.delayed, TYPE, { durable: true, arguments: { 'x-delayed-type': 'fanout' } })
    return true
  } catch (error) {
    const code = replyCode(failure) ?? replyCode(error)
    if (code === REPLY.commandInvalid || code === REPLY.preconditionFailed) return false
    throw error
  } finally {
    await closeQuietly(model)
  }
}

async function connectToAny(connector: Connector, attempt: number, signal: AbortSignal): Promise<ChannelModel> {
  for (let left = connector.hosts, at = attempt; ; left--, at++) {
    try {
      return (await connector.connect('publish', at, signal)).model
    } catch (error) {
      if (left <= 1 || !ConnectionError.is(error) || signal.aborted) throw error
    }
  }
}

/** Declares the exchange that holds messages back, and where they go when they are due. */
export async function declareDelayExchange(
  declaring: DeclareChannel,
  names: Names,
  storage: QueueArguments,
): Promise<readonly Drift[]> {
  const drifts = await declareDue(declaring, names, storage)
  await declaring.run((channel) =>
    Promise.all([
      channel.assertExchange(names.delayed, TYPE, { durable: true, arguments: { 'x-delayed-type': 'fanout' } }),
      channel.bindExchange(names.due, names.delayed, ''),
    ]),
  )
  return drifts
}
