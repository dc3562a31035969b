export { batchInTransaction, inTransaction } from './in-transaction.ts'
export type { BatchTransactionContext, TransactionContext } from './in-transaction.ts'
export { createUnitOfWork } from './unit-of-work.ts'
export type { BufferedWrite, TransactionAdapter, Unit, UnitOfWork } from './unit-of-work.ts'
