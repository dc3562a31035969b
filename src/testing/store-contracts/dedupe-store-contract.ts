import type { DedupeStore } from '../../middleware/store.ts'
import type { Runner } from '../conformance/conformance.ts'
import { dedupeStoreScenarios } from './dedupe-store-scenarios.ts'
import { registerStoreContract } from './store-contract.ts'
import type { StoreContractOptions } from './store-contract.ts'

/**
 * Registers the tests of the contract `DedupeStore` with a test runner: atomic claims over several connections, tokens that fence,
 * leases and times to live by the store's clock, odd keys. Takes about two seconds, and leaves its keys in the store.
 *
 *     import * as vitest from 'vitest'
 *     import { dedupeStoreContract } from 'busbar/testing'
 *
 *     dedupeStoreContract(vitest, { name: 'acme', create: () => acmeDedupeStore(connect()) })
 */
export function dedupeStoreContract(
  runner: Pick<Runner, 'describe' | 'it'>,
  options: StoreContractOptions<DedupeStore>,
): void {
  registerStoreContract('DedupeStore', dedupeStoreScenarios, runner, options)
}
