export { memoryDedupeStore } from './dedupe.ts'
export type { MemoryDedupeStore, MemoryDedupeStoreOptions } from './dedupe.ts'
