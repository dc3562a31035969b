export { memoryClaimStore } from './claims.ts'
export type { MemoryClaimStore } from './claims.ts'
export { memoryDedupeStore } from './dedupe.ts'
export type { MemoryDedupeStore, MemoryDedupeStoreOptions } from './dedupe.ts'
