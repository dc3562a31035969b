// Real brokers for tests and development. This is the public part of the folder.
import { ensureShared, sharedBroker } from './shared.ts'
import { BROKER_NAMES } from './types.ts'
import type { Broker, BrokerName } from './types.ts'

export { borrow } from './borrow.ts'
export { BrokerError } from './errors.ts'
export type { BrokerErrorCode } from './errors.ts'
export { fetchAhead } from './install.ts'
export { freePort } from './ports.ts'
export { startPrivate } from './private.ts'
export { brokerStatus } from './status.ts'
export type { BrokerState, BrokerStatus } from './status.ts'
export { waitFor } from './wait.ts'
export { bringUp, ensureShared, sharedBroker, stopShared } from './shared.ts'
export type { BroughtUp } from './shared.ts'
export { BROKER_NAMES } from './types.ts'
export type * from './types.ts'

/** URL of the shared instance, which is started if it is not running. Tests in it use their own topics and groups. */
export async function brokerUrl(name: BrokerName): Promise<string> {
  return (await ensureShared(name)).url
}

/** The shared instances that were started or given, running or not. */
export function sharedBrokers(): readonly Broker[] {
  return BROKER_NAMES.map((name) => sharedBroker(name)).filter((broker) => broker !== undefined)
}
