import { NOW, script } from './script.ts'
import type { Script } from './script.ts'

/** KEYS delayed, sequence · ARGV time, fields ... · keeps a message until it is due. Returns in how many ms that is. */
export const DELAY: Script = script(
  'delay',
  `${NOW}
local number = redis.call('INCR', KEYS[2])
local fields = {}
for at = 2, #ARGV do fields[#fields + 1] = ARGV[at] end
redis.call('ZADD', KEYS[1], ARGV[1], string.format('%016.0f', number) .. cmsgpack.pack(fields))
return math.max(0, tonumber(ARGV[1]) - now)
`,
)

/** KEYS side stream · ARGV group, fields ... · stores a copy for one group alone. Returns its id. */
export const PUBLISH_SIDE: Script = script(
  'publish-side',
  `
redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0', 'MKSTREAM')
return redis.call('XADD', KEYS[1], '*', unpack(ARGV, 2))
`,
)

/** Moves what is due from a sorted set to its stream; returns how long until the next one is due, or -1. */
export const MOVE_DUE = `
local function moveDue(delayed, stream, group)
  local due = redis.call('ZRANGEBYSCORE', delayed, '-inf', now, 'LIMIT', 0, 100)
  if #due > 0 and group then redis.pcall('XGROUP', 'CREATE', stream, group, '0', 'MKSTREAM') end
  for _, member in ipairs(due) do
    redis.call('XADD', stream, '*', unpack(cmsgpack.unpack(string.sub(member, 17))))
    redis.call('ZREM', delayed, member)
  end
  return #due
end
local function untilNext(set)
  local first = redis.call('ZRANGE', set, 0, 0, 'WITHSCORES')
  if not first[2] then return -1 end
  return math.max(0, tonumber(first[2]) - now)
end
`

/** KEYS delayed, stream · moves what is due, for a publisher without a consumer. Returns ms until the next one, or -1. */
export const MOVE: Script = script(
  'move',
  `${NOW}${MOVE_DUE}
moveDue(KEYS[1], KEYS[2], ARGV[1])
return untilNext(KEYS[1])
`,
)
