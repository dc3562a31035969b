import { startPrivate } from './private.ts'
import { sharedBroker } from './shared.ts'
import type { BrokerName, BrokerOf } from './types.ts'

/**
 * A broker for tests that use names of their own and leave it as they found it: the shared instance where one runs, as under
 * `npm test`, which saves its start; else a private one. Stopping a borrowed one does nothing.
 *
 *     await using rabbitmq = await borrow('rabbitmq')
 */
export async function borrow<N extends BrokerName>(name: N): Promise<BrokerOf[N]> {
  const shared = sharedBroker(name)
  // What runs elsewhere can't be looked into: it has no `ctl`.
  if (shared === undefined || shared.source === 'env' || !(await shared.healthy())) return startPrivate(name)
  const keep = (): Promise<void> => Promise.resolve()
  return Object.create(shared, { stop: { value: keep }, [Symbol.asyncDispose]: { value: keep } }) as BrokerOf[N]
}
