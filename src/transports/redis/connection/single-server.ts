import type { Clock } from '../../../core/clock.ts'
import { describeServer, dial, dialLimitMs, hasOwnClient } from './dial.ts'
import { messageOf } from '../errors.ts'
import type { Arg, NativeClient } from './given-client.ts'
import { Connection } from './connection.ts'
import type { ConnectionParts } from './connection.ts'
import type { ResolvedRedisOptions } from '../options.ts'
import { REPLY_OPTIONS } from './reply-options.ts'
import type { DedicatedOptions, Commands, ConnectionListener } from './commands.ts'

/** One server, or the primary that sentinels name, with our own connections. */
export function singleServer(options: ResolvedRedisOptions, clock: Clock, listener: ConnectionListener): Commands {
  const common = {
    dial: (signal: AbortSignal) => dial(options, clock, signal),
    dialLimitMs: dialLimitMs(options),
    where: describeServer(options),
    clock,
    reconnect: options.reconnect,
    responseTimeoutMs: options.responseTimeoutMs,
  }
  let losses = 0
  const main = new Connection({
    ...common,
    async prepare(client) {
      await requirePrimary(client, options)
      await listener.prepare((args) => client.sendCommand(args, REPLY_OPTIONS))
    },
    onUp: (first, attempts) => listener.up(first, attempts),
    onDown: (reason) => {
      losses++
      listener.down(reason)
    },
    onTrouble: (error) => listener.trouble(error),
    // It never blocks, so nothing can be delivered to it.
    onForbidden: () => {},
  })
  return {
    cluster: false,
    get connected() {
      return main.up
    },
    get losses() {
      return losses
    },
    get server() {
      return main.server
    },
    async open() {
      try {
        await main.open()
      } catch (error) {
        main.close()
        throw error
      }
    },
    call: (_key: string, args: readonly Arg[], signal?: AbortSignal) => main.call(args, signal),
    batch: hasOwnClient(options) ? (count, write, signal) => main.batch(count, write, signal) : undefined,
    dedicated: (_key: string, dedicated: DedicatedOptions) =>
      dedicatedConnection(common, dedicated, (client) => requirePrimary(client, options)),
    close: () => main.close(),
  }
}

export function dedicatedConnection(
  common: Pick<ConnectionParts, 'dial' | 'dialLimitMs' | 'where' | 'clock' | 'reconnect' | 'responseTimeoutMs'>,
  { onUp, onDown, onTrouble, onForbidden }: DedicatedOptions,
  prepare: (client: NativeClient) => Promise<void>,
): Connection {
  const connection: Connection = new Connection({
    ...common,
    prepare,
    onUp: () => onUp(connection),
    onDown,
    onTrouble,
    onForbidden,
  })
  return connection
}

/** A sentinel's information may be outdated; and a server that is still loading is not ready. */
async function requirePrimary(client: NativeClient, { sentinel }: ResolvedRedisOptions): Promise<void> {
  if (sentinel === undefined) {
    await client.sendCommand(['PING'])
    return
  }
  const role = (await client.sendCommand(['ROLE'])) as readonly unknown[]
  if (String(role[0]) !== 'master')
    throw new Error(`the server that the sentinels named is a ${messageOf(role[0])}, not the primary`)
}
