import { BEFORE, NOW, script } from './script.ts'
import type { Script } from './script.ts'

/** Finds what the groups of a stream still need. */
const GROUPS = `${BEFORE}
local function groupsOf(stream)
  local groups = {}
  local infos = redis.pcall('XINFO', 'GROUPS', stream)
  if infos.err then return groups end
  for _, info in ipairs(infos) do
    local group = {}
    for at = 1, #info, 2 do group[info[at]] = info[at + 1] end
    -- Everything below it has been acked.
    group.low = group['last-delivered-id']
    if group.pending > 0 then
      local summary = redis.call('XPENDING', stream, group.name)
      if summary[2] and before(summary[2], group.low) then group.low = summary[2] end
    end
    groups[#groups + 1] = group
  end
  return groups
end
`

/**
 * KEYS stream · ARGV maxLen (0: none), maxAgeMs (0: none), 1 to remove unacked entries as well
 *
 * Removes old entries, whole nodes at a time, and no more than 10,000 in one go. Returns [removed, entries above the
 * limit that a group still needs, that group, age of the oldest remaining entry in ms or -1, then for each group that
 * lost something: name, count, pending ones among them].
 */
export const TRIM: Script = script(
  'trim',
  `${GROUPS}
local stream, maxLen, maxAge = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2])
local length = redis.pcall('XLEN', stream)
if type(length) == 'table' or length == 0 then return { 0, 0, '', -1 } end
${NOW}
local groups = groupsOf(stream)
local safe, holder
for _, group in ipairs(groups) do
  if not safe or before(group.low, safe) then safe, holder = group.low, group.name end
end

local removed = 0
local function trim(minId, limit)
  if limit <= 0 then return end
  removed = removed + redis.call('XTRIM', stream, 'MINID', '~', minId, 'LIMIT', math.min(limit, 10000))
end
local newest = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1][1]
if maxLen > 0 then trim(safe or newest, length - maxLen) end
if maxAge > 0 then
  local cutoff = string.format('%.0f-0', now - maxAge)
  trim((safe and before(safe, cutoff)) and safe or cutoff, 10000)
end

-- What is still above the limit is held by a group. A node (100 entries) and a tenth more are no matter.
local over, cutoff = 0, nil
length = length - removed
if maxLen > 0 and length - maxLen > 100 + maxLen / 10 then over = length - maxLen end
if maxAge > 0 and over == 0 then
  local oldest = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
  cutoff = string.format('%.0f-0', now - maxAge * 1.1 - 1000)
  if oldest and before(oldest[1], cutoff) and safe and before(safe, cutoff) then over = 1 end
end
local first = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
local result = { removed, over, holder or '', first and math.max(0, now - parts(first[1])) or -1 }
if over == 0 or ARGV[3] ~= '1' then return result end

local page = redis.call('XRANGE', stream, '-', '+', 'COUNT', over == 1 and 500 or math.min(over, 500))
local last
for _, entry in ipairs(page) do
  if over > 1 or before(entry[1], cutoff) then last = entry[1] end
end
if not last then return result end
for _, group in ipairs(groups) do
  local lost, pending = 0, redis.call('XPENDING', stream, group.name, '-', last, #page)
  for _, entry in ipairs(page) do
    if before(group['last-delivered-id'], entry[1]) and not before(last, entry[1]) then lost = lost + 1 end
  end
  for _, entry in ipairs(pending) do
    redis.call('XACK', stream, group.name, entry[1])
    redis.call('HDEL', stream .. ':notes:' .. group.name, entry[1])
    redis.call('ZREM', stream .. ':later:' .. group.name, entry[1])
  end
  if lost + #pending > 0 then
    result[#result + 1] = group.name
    result[#result + 1] = lost + #pending
    result[#result + 1] = #pending
  end
end
redis.call('XTRIM', stream, 'MINID', '=', last)
redis.call('XDEL', stream, last)
result[1] = removed + #page
return result
`,
)
