import type { Runner } from '../conformance/conformance.ts'
import { registerStoreContract } from './store-contract.ts'
import type { StoreContractOptions } from './store-contract.ts'
import { unitOfWorkScenarios } from './unit-of-work-scenarios.ts'
import type { UnitOfWorkHarness } from './unit-of-work-scenarios.ts'

/**
 * Registers the tests of the contract `UnitOfWork` with a test runner: commit and rollback, buffered writes, nested runs, aborts,
 * concurrent runs. Takes less than a second, and leaves its rows in the table.
 *
 *     import * as vitest from 'vitest'
 *     import { unitOfWorkContract } from 'busbar/testing'
 *
 *     unitOfWorkContract(vitest, {
 *       name: 'kysely',
 *       create: () => ({
 *         unitOfWork: kyselyUnitOfWork(db),
 *         insert: (tx, value) => tx.insertInto('test').values({ value }).execute(),
 *         values: async () => (await db.selectFrom('test').select('value').execute()).map(({ value }) => value),
 *       }),
 *     })
 */
export function unitOfWorkContract<Tx>(
  runner: Pick<Runner, 'describe' | 'it'>,
  options: Pick<StoreContractOptions<UnitOfWorkHarness<Tx>>, 'name' | 'create' | 'close' | 'patienceMs'>,
): void {
  registerStoreContract<UnitOfWorkHarness<Tx>>('UnitOfWork', unitOfWorkScenarios<Tx>(), runner, options)
}
