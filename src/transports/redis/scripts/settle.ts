import { FENCE, NOW, script } from './script.ts'
import type { Script } from './script.ts'

/**
 * KEYS (stream, meta) for each stream · ARGV group, then for each stream: generation, 1 to delete as well, count, ids ...
 * Acks what one turn has brought, of all streams at once. Returns for each how many were still pending, or -1 when the
 * partition is not ours any more.
 */
export const ACK: Script = script(
  'ack',
  `
local result, at = {}, 2
for key = 1, #KEYS, 2 do
  local count = tonumber(ARGV[at + 2])
  if redis.call('HGET', KEYS[key + 1], 'generation') ~= ARGV[at] then
    result[#result + 1] = -1
  else
    result[#result + 1] = redis.call('XACK', KEYS[key], ARGV[1], unpack(ARGV, at + 3, at + 2 + count))
    if ARGV[at + 1] == '1' then redis.call('XDEL', KEYS[key], unpack(ARGV, at + 3, at + 2 + count)) end
  end
  at = at + 3 + count
end
return result
`,
)

/** True when the entry is out with this member. */
const HELD = `
local function held(stream, group, member, id)
  local pending = redis.call('XPENDING', stream, group, id, id, 1)[1]
  return pending and pending[2] == member
end
`

/**
 * KEYS stream, meta · ARGV group, generation, 1 to delete as well, member, ids ... · the same for entries that another member
 * may have claimed meanwhile. Returns the places in the list of those that are not the member's.
 */
export const ACK_HELD: Script = script(
  'ack-held',
  `${FENCE}${HELD}
local fenced = fence(KEYS[2], ARGV[2])
if fenced then return fenced end
local refused = {}
for at = 5, #ARGV do
  if held(KEYS[1], ARGV[1], ARGV[4], ARGV[at]) then
    redis.call('XACK', KEYS[1], ARGV[1], ARGV[at])
    if ARGV[3] == '1' then redis.call('XDEL', KEYS[1], ARGV[at]) end
  else
    refused[#refused + 1] = at - 5
  end
end
return refused
`,
)

/**
 * KEYS stream, meta, later · ARGV group, generation, member, then for each: id, delayMs, deliveries to count.
 * Hands entries back until their time; nobody claims them before. Returns the places of those that are not the member's.
 */
export const HAND_BACK: Script = script(
  'hand-back',
  `${NOW}${FENCE}${HELD}
local fenced = fence(KEYS[2], ARGV[2])
if fenced then return fenced end
local refused = {}
for at = 4, #ARGV, 3 do
  if held(KEYS[1], ARGV[1], ARGV[3], ARGV[at]) then
    redis.call('XCLAIM', KEYS[1], ARGV[1], '@later', 0, ARGV[at], 'RETRYCOUNT', ARGV[at + 2], 'JUSTID')
    redis.call('ZADD', KEYS[3], string.format('%.0f', now + tonumber(ARGV[at + 1])), ARGV[at])
  else
    refused[#refused + 1] = (at - 4) / 3
    -- Deleted while it was out, and dropped by the server when its lease was renewed: told as lost when it is due.
    if #redis.call('XRANGE', KEYS[1], ARGV[at], ARGV[at]) == 0 then
      redis.call('ZADD', KEYS[3], string.format('%.0f', now), ARGV[at])
    end
  end
end
return refused
`,
  { allowOutOfMemory: true },
)

/**
 * KEYS stream, later · ARGV group, member · hands back all that is still out with a member that goes, without counting it,
 * and forgets the member.
 */
export const LEAVE: Script = script(
  'leave',
  `${NOW}
repeat
  local page = redis.pcall('XPENDING', KEYS[1], ARGV[1], '-', '+', 1000, ARGV[2])
  if page.err then return 0 end
  for _, entry in ipairs(page) do
    redis.call('XCLAIM', KEYS[1], ARGV[1], '@later', 0, entry[1], 'RETRYCOUNT', math.max(0, entry[4] - 1), 'JUSTID')
    redis.call('ZADD', KEYS[2], string.format('%.0f', now), entry[1])
  end
until #page < 1000
redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
return 1
`,
  { allowOutOfMemory: true },
)

/**
 * KEYS stream, meta, dead-letter stream · ARGV group, generation, member, id, 1 to delete as well, fields ...
 * Stores the dead letter and settles its source in one step. Returns the dead letter's id, or nothing when the source had
 * been settled before: then an earlier try of this very step got through.
 */
export const DEAD_LETTER: Script = script(
  'dead-letter',
  `${FENCE}
local fenced = fence(KEYS[2], ARGV[2])
if fenced then return fenced end
local pending = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[4], ARGV[4], 1)[1]
-- A source that was deleted meanwhile is no longer pending either; its dead letter is all that is left of it.
if not pending and (ARGV[5] == '1' or #redis.call('XRANGE', KEYS[1], ARGV[4], ARGV[4]) > 0) then return false end
if pending and pending[2] ~= ARGV[3] then return redis.error_reply('FENCED another member has the message') end
local id = redis.call('XADD', KEYS[3], '*', unpack(ARGV, 6))
redis.call('XACK', KEYS[1], ARGV[1], ARGV[4])
if ARGV[5] == '1' then redis.call('XDEL', KEYS[1], ARGV[4]) end
return id
`,
)

/** KEYS stream, meta · ARGV group, generation, member, id, attempt · writes down how many attempts were made. */
export const NOTE_ATTEMPT: Script = script(
  'note-attempt',
  `${FENCE}${HELD}
local fenced = fence(KEYS[2], ARGV[2])
if fenced then return fenced end
if not held(KEYS[1], ARGV[1], ARGV[3], ARGV[4]) then return 0 end
redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[3], 0, ARGV[4], 'RETRYCOUNT', ARGV[5], 'JUSTID')
return 1
`,
)

/** KEYS stream, meta · ARGV group, generation, member, ids ... · renews leases. Returns the places of those that are not the member's. */
export const EXTEND: Script = script(
  'extend',
  `${FENCE}${HELD}
local fenced = fence(KEYS[2], ARGV[2])
if fenced then return fenced end
local refused = {}
for at = 4, #ARGV do
  if held(KEYS[1], ARGV[1], ARGV[3], ARGV[at]) then
    redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[3], 0, ARGV[at], 'JUSTID')
  else
    refused[#refused + 1] = at - 4
  end
end
return refused
`,
)
