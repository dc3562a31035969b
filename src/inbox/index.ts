export { createInbox } from './inbox.ts'
export type { Inbox, InboxOptions } from './inbox.ts'
export { idempotencyKey } from './message-key.ts'
export type { ForgetFilter, InboxKey, InboxStats, InboxStore } from './store.ts'
