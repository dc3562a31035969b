import { LAST_DELIVERED } from './look.ts'
import { FENCE, NOW, script } from './script.ts'
import type { Script } from './script.ts'

/** Maximum number of entries that get their place again in one script. */
const PUT_BACK_AT_ONCE = 1_000

/**
 * KEYS stream, later · ARGV group, from, count, minIdleMs · a page of pending entries, in order, without those that
 * wait for their time. Returns the id after which to continue (empty at the end), then alternating id and consumer.
 * First, what was handed back and lost its place, because another program deleted the consumer that holds it, gets it
 * again: it would come after newer ones.
 */
export const PENDING: Script = script(
  'pending',
  `${NOW}
if ARGV[4] == '0' and ARGV[2] == '-' then
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, ${PUT_BACK_AT_ONCE})) do
    if not redis.call('XPENDING', KEYS[1], ARGV[1], id, id, 1)[1] then
      redis.call('XCLAIM', KEYS[1], ARGV[1], '@later', 0, id, 'FORCE', 'JUSTID')
    end
  end
end
local page
if ARGV[4] == '0' then page = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[2], '+', ARGV[3])
else page = redis.call('XPENDING', KEYS[1], ARGV[1], 'IDLE', ARGV[4], ARGV[2], '+', ARGV[3]) end
local found = { #page == tonumber(ARGV[3]) and page[#page][1] or '' }
for _, entry in ipairs(page) do
  local due = redis.call('ZSCORE', KEYS[2], entry[1])
  if not due or tonumber(due) <= now then
    found[#found + 1] = entry[1]
    found[#found + 1] = entry[2]
  end
end
return found
`,
)

/**
 * Claims one entry, and returns its former member and its note. An entry that no longer exists is removed from the
 * list. One that was handed back but is not pending lost its place with the consumer that held it: it gets the place
 * again.
 */
const TAKE = `
local taken, gone = {}, {}
local function take(stream, group, later, notes, member, minIdle, id)
  local pending = redis.call('XPENDING', stream, group, id, id, 1)[1]
  if not pending and not redis.call('ZSCORE', later, id) then return end
  local entry = redis.call('XCLAIM', stream, group, member, minIdle, id, 'FORCE')[1]
  if entry and entry[2] then
    redis.call('ZREM', later, id)
    taken[#taken + 1] = { entry[1], pending and pending[2] or '@later', redis.call('HGET', notes, id) or '', entry[2] }
  elseif #redis.call('XRANGE', stream, id, id) == 0 then
    redis.call('XACK', stream, group, id)
    redis.call('ZREM', later, id)
    redis.call('HDEL', notes, id)
    gone[#gone + 1] = id
  end
end
`

/**
 * KEYS stream, meta, later, notes · ARGV group, member, generation, minIdleMs, ids ... Returns the entries that are now
 * the member's, each [id, former member, note, fields], and the ids of those that no longer exist.
 */
export const CLAIM: Script = script(
  'claim',
  `${FENCE}${TAKE}
local fenced = fence(KEYS[2], ARGV[3])
if fenced then return fenced end
for at = 5, #ARGV do take(KEYS[1], ARGV[1], KEYS[3], KEYS[4], ARGV[2], ARGV[4], ARGV[at]) end
return { taken, gone }
`,
)

/** KEYS stream, meta, later, notes · ARGV group, member, generation, count · the same for what was handed back and is due. */
export const CLAIM_DUE: Script = script(
  'claim-due',
  `${NOW}${FENCE}${TAKE}
local fenced = fence(KEYS[2], ARGV[3])
if fenced then return fenced end
local due = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now, 'LIMIT', 0, ARGV[4])
for _, id in ipairs(due) do take(KEYS[1], ARGV[1], KEYS[3], KEYS[4], ARGV[2], 0, id) end
local first = redis.call('ZRANGE', KEYS[3], 0, 0, 'WITHSCORES')
return { taken, gone, first[2] and math.max(0, tonumber(first[2]) - now) or -1 }
`,
)

/**
 * KEYS stream, meta · ARGV group, generation, consumer of the former owner, id after which to look, count
 *
 * The former owner died, and then its consumer was deleted with what it had pending. (Empty: a reply to this owner was lost, and
 * it has not seen what comes after the id, whether its consumer exists or not.) Which entries those were is
 * unknown; all after its last sign of life are made pending again, to be handled twice rather than never. Returns how
 * many, and the id after which to continue (empty at the end).
 */
export const RECOVER_DELETED: Script = script(
  'recover-deleted',
  `${FENCE}${LAST_DELIVERED}
local fenced = fence(KEYS[2], ARGV[2])
if fenced then return fenced end
local consumers = redis.pcall('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])
if consumers.err then return { 0, '' } end
for _, info in ipairs(consumers) do
  for at = 1, #info, 2 do
    if info[at] == 'name' and info[at + 1] == ARGV[3] then return { 0, '' } end
  end
end
local page = redis.call('XRANGE', KEYS[1], '(' .. ARGV[4], lastDelivered(KEYS[1], ARGV[1]), 'COUNT', ARGV[5])
local count = 0
for _, entry in ipairs(page) do
  if not redis.call('XPENDING', KEYS[1], ARGV[1], entry[1], entry[1], 1)[1] then
    redis.call('XCLAIM', KEYS[1], ARGV[1], '@lost', 0, entry[1], 'FORCE', 'JUSTID')
    count = count + 1
  end
end
return { count, #page == tonumber(ARGV[5]) and page[#page][1] or '' }
`,
)
