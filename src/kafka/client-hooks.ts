import type { ClusterHooks } from './cluster/hooks.ts'
import type { ConsumerHooks } from './consumer/consumer-hooks.ts'
import type { KnownNames, OptionsReader } from './options-reader.ts'
import type { BatchEvent } from './producer/producer-hooks.ts'

/**
 * What happens in a client, for logs and metrics. Hooks are called synchronously, where it happens: they must be quick. What one throws is
 * ignored. A client without hooks pays nothing for them.
 */
export interface ClientHooks extends ClusterHooks, ConsumerHooks {
  /** A batch of a producer was confirmed, or has failed. */
  readonly onBatch?: ((event: BatchEvent) => void) | undefined
}

const KNOWN: KnownNames = {
  names: ['onConnection', 'onRequest', 'onThrottle', 'onTrouble', 'onBatch', 'onRebalance', 'onLoss'],
}

/** Notes what is wrong with the option `hooks`. */
export function readHooks(options: OptionsReader): void {
  const hooks = options.nested('hooks', KNOWN)
  for (const name of KNOWN.names) hooks?.callable(name, 'a function of the event')
}
