import { NOW, script } from './script.ts'
import type { Script } from './script.ts'

/** KEYS groups of single subscriptions · ARGV entry, ms for which it is in use from now on. */
export const NOTE_EPHEMERAL: Script = script(
  'note-ephemeral',
  `${NOW}
return redis.call('ZADD', KEYS[1], string.format('%.0f', now + tonumber(ARGV[2])), ARGV[1])
`,
  { allowOutOfMemory: true },
)

/** KEYS groups of single subscriptions · ARGV count · those no longer in use. */
export const UNWANTED_EPHEMERAL: Script = script(
  'unwanted-ephemeral',
  `${NOW}
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])
`,
)
