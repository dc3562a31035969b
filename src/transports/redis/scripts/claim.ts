import { FENCE, NOW, script } from './script.ts'
import type { Script } from './script.ts'

/**
 * KEYS stream, later · ARGV group, from, count, minIdleMs · a page of what is pending, in order, without what waits for its
 * time. Returns the id to go on after (empty at the end), then id and consumer in turn.
 */
export const PENDING: Script = script(
  'pending',
  `${NOW}
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

/** Claims one entry. Its deliveries so far are counted by the server; an entry that is gone is dropped from the list. */
const TAKE = `
local taken, gone = {}, {}
local function take(stream, group, later, member, minIdle, id)
  local pending = redis.call('XPENDING', stream, group, id, id, 1)[1]
  if not pending then
    -- Not pending, and not there: it was deleted, and the server dropped it when it was handed back.
    if redis.call('ZREM', later, id) == 1 and #redis.call('XRANGE', stream, id, id) == 0 then gone[#gone + 1] = id end
    return
  end
  local entry = redis.call('XCLAIM', stream, group, member, minIdle, id)[1]
  if entry and entry[2] then
    redis.call('ZREM', later, id)
    taken[#taken + 1] = { entry[1], pending[4] + 1, entry[2] }
  elseif #redis.call('XRANGE', stream, id, id) == 0 then
    redis.call('XACK', stream, group, id)
    redis.call('ZREM', later, id)
    gone[#gone + 1] = id
  end
end
`

/**
 * KEYS stream, meta, later · ARGV group, member, generation, minIdleMs, ids ...
 * Returns the entries that are the member's now, each [id, deliveries, fields], and the ids of those that no longer exist.
 */
export const CLAIM: Script = script(
  'claim',
  `${FENCE}${TAKE}
local fenced = fence(KEYS[2], ARGV[3])
if fenced then return fenced end
for at = 5, #ARGV do take(KEYS[1], ARGV[1], KEYS[3], ARGV[2], ARGV[4], ARGV[at]) end
return { taken, gone }
`,
)

/** KEYS stream, meta, later · ARGV group, member, generation, count · the same for what was handed back and is due. */
export const CLAIM_DUE: Script = script(
  'claim-due',
  `${NOW}${FENCE}${TAKE}
local fenced = fence(KEYS[2], ARGV[3])
if fenced then return fenced end
local due = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now, 'LIMIT', 0, ARGV[4])
for _, id in ipairs(due) do take(KEYS[1], ARGV[1], KEYS[3], ARGV[2], 0, id) end
local first = redis.call('ZRANGE', KEYS[3], 0, 0, 'WITHSCORES')
return { taken, gone, first[2] and math.max(0, tonumber(first[2]) - now) or -1 }
`,
)
