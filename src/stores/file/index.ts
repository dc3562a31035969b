export { fileClaimStore } from './claims.ts'
export type { FileClaimStore, FileClaimStoreOptions } from './claims.ts'
