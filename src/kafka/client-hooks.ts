import type { ClusterHooks } from './cluster/hooks.ts'
import type { ConsumerHooks } from './consumer/consumer-hooks.ts'
import type { KnownNames, OptionsReader } from './options-reader.ts'
import type { BatchEvent } from './producer/producer-hooks.ts'

/**
 * Functions that report what happens in a client, for logs and metrics. They are called synchronously, so they must
 * be quick. Errors that they throw are ignored. A hook that is not set costs nothing.
 */
export interface ClientHooks extends ClusterHooks, ConsumerHooks {
  /** A batch of a producer was confirmed or failed. */
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
