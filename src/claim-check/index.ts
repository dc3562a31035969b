export { claimCheck } from './claim-check.ts'
export type { ClaimCheck, ClaimCheckOptions } from './claim-check.ts'
export type { ClaimStore } from './store.ts'
