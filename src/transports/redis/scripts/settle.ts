import { NOTE } from './notes.ts'
import { FENCE, NOW, script } from './script.ts'
import type { Script } from './script.ts'

/**
 * KEYS (stream, meta, notes) for each stream · ARGV group, then for each stream: generation, 1 to delete as well,
 * count, count of those with a note, ids ..., ids with a note ... · acks everything of one turn, for all streams at
 * once. Returns for each how many were still pending, or -1 when the partition is no longer ours; ends with NOGROUP when data
 * of the group was deleted.
 */
export const ACK: Script = script(
  'ack',
  `${FENCE}
local result, at = {}, 2
for key = 1, #KEYS, 3 do
  local first = at + 4
  local last = first + tonumber(ARGV[at + 2]) - 1
  local noted = tonumber(ARGV[at + 3])
  local fenced = fence(KEYS[key + 1], ARGV[at])
  if fenced then
    if string.find(fenced.err, '^NOGROUP') then return fenced end
    result[#result + 1] = -1
  else
    result[#result + 1] = redis.call('XACK', KEYS[key], ARGV[1], unpack(ARGV, first, last))
    if noted > 0 then redis.call('HDEL', KEYS[key + 2], unpack(ARGV, last + 1, last + noted)) end
    if ARGV[at + 1] == '1' then redis.call('XDEL', KEYS[key], unpack(ARGV, first, last)) end
  end
  at = last + noted + 1
end
return result
`,
)

/** True when the entry is in flight with this member. */
const HELD = `
local function held(stream, group, member, id)
  local pending = redis.call('XPENDING', stream, group, id, id, 1)[1]
  return pending and pending[2] == member
end
`

/**
 * KEYS stream, meta, notes · ARGV group, generation, 1 to delete as well, member, ids ... · the same for entries that
 * another member may have claimed meanwhile. Returns the indexes of those that are not the member's.
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
    redis.call('HDEL', KEYS[3], ARGV[at])
    if ARGV[3] == '1' then redis.call('XDEL', KEYS[1], ARGV[at]) end
  else
    refused[#refused + 1] = at - 5
  end
end
return refused
`,
)

/**
 * KEYS stream, meta, later, notes · ARGV group, generation, member, then for each: id, delayMs, attempts used, time before
 * which it must not start, time until which no other member can have it.
 *
 * Hands entries back until their time; no member can claim them before. Returns the indexes of those that are not the
 * member's.
 */
export const RELEASE_ENTRIES: Script = script(
  'release-entries',
  `${NOW}${FENCE}${NOTE}
local stream, later, notes, group, member = KEYS[1], KEYS[3], KEYS[4], ARGV[1], ARGV[3]
local fenced = fence(KEYS[2], ARGV[2])
if fenced then return fenced end
local refused = {}
for at = 4, #ARGV, 5 do
  local id = ARGV[at]
  local pending = redis.call('XPENDING', stream, group, id, id, 1)[1]
  local sure = now < tonumber(ARGV[at + 4])
  -- If it is not pending, a consumer was deleted with all it had.
  if (pending and pending[2] == member) or (sure and (not pending or pending[2] == '@later')) then
    redis.call('XCLAIM', stream, group, '@later', 0, id, 'FORCE', 'JUSTID')
    redis.call('ZADD', later, string.format('%.0f', now + tonumber(ARGV[at + 1])), id)
    note(notes, id, ARGV[at + 2], '0', ARGV[at + 3], member)
  else
    refused[#refused + 1] = (at - 4) / 5
    -- Deleted while it was out, and dropped by the server when its lease was renewed: told as lost when it is due.
    if #redis.call('XRANGE', stream, id, id) == 0 then redis.call('ZADD', later, string.format('%.0f', now), id) end
  end
end
return refused
`,
  { allowOutOfMemory: true },
)

/**
 * KEYS stream, later, notes · ARGV group, member, count · hands back what a leaving member still has in flight; a
 * handler that was running there uses no attempt. Returns 1 when there may be more; at the end the member is removed.
 */
export const LEAVE: Script = script(
  'leave',
  `${NOW}${NOTE}
local page = redis.pcall('XPENDING', KEYS[1], ARGV[1], '-', '+', ARGV[3], ARGV[2])
if page.err then return 0 end
for _, entry in ipairs(page) do
  local id = entry[1]
  redis.call('XCLAIM', KEYS[1], ARGV[1], '@later', 0, id, 'JUSTID')
  redis.call('ZADD', KEYS[2], string.format('%.0f', now), id)
  local known = noteOf(KEYS[3], id)
  if known and known.running == '1' and known.member == ARGV[2] then
    note(KEYS[3], id, string.format('%d', math.max(0, known.used - 1)), '0', known.notBefore, ARGV[2])
  end
end
if #page == tonumber(ARGV[3]) then return 1 end
redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
return 0
`,
  { allowOutOfMemory: true },
)

/**
 * KEYS stream, meta, dead-letter stream, notes · ARGV group, generation, member, id, 1 to delete as well, time until which
 * neither another member nor an earlier call of this can have settled it, fields ...
 *
 * Stores the dead letter and settles its source in one step. Returns the dead letter's id, or nothing when the source
 * had been settled before: then an earlier attempt succeeded.
 */
export const DEAD_LETTER: Script = script(
  'dead-letter',
  `${NOW}${FENCE}
local fenced = fence(KEYS[2], ARGV[2])
if fenced then return fenced end
local pending = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[4], ARGV[4], 1)[1]
-- A source that was deleted meanwhile, or whose consumer was, is no longer pending either; its dead letter is all that is left of it.
if not pending and now >= tonumber(ARGV[6]) and (ARGV[5] == '1' or #redis.call('XRANGE', KEYS[1], ARGV[4], ARGV[4]) > 0) then return false end
if pending and pending[2] ~= ARGV[3] then return redis.error_reply('FENCED another member has the message') end
local id = redis.call('XADD', KEYS[3], '*', unpack(ARGV, 7))
redis.call('XACK', KEYS[1], ARGV[1], ARGV[4])
redis.call('HDEL', KEYS[4], ARGV[4])
if ARGV[5] == '1' then redis.call('XDEL', KEYS[1], ARGV[4]) end
return id
`,
)

/**
 * KEYS stream, meta · ARGV group, generation, member, then for each: id, time until which no other member can have it · renews
 * leases. Returns the indexes of those that are not the member's.
 */
export const EXTEND: Script = script(
  'extend',
  `${NOW}${FENCE}
local fenced = fence(KEYS[2], ARGV[2])
if fenced then return fenced end
local refused = {}
for at = 4, #ARGV, 2 do
  local id = ARGV[at]
  local pending = redis.call('XPENDING', KEYS[1], ARGV[1], id, id, 1)[1]
  -- If it is not pending, the member's consumer was deleted with all it had.
  if (pending and pending[2] == ARGV[3]) or (not pending and now < tonumber(ARGV[at + 1])) then
    redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[3], 0, id, 'FORCE', 'JUSTID')
  else
    refused[#refused + 1] = (at - 4) / 2
  end
end
return refused
`,
)
