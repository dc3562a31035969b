import { BEFORE, FENCE, NOW, script, SERVER_ID } from './script.ts'
import type { Script } from './script.ts'

/** Fields and values of a reply, by name. */
const NAMED = `
local function named(flat)
  local found = {}
  for at = 1, #flat, 2 do found[flat[at]] = flat[at + 1] end
  return found
end
`

/** What the server says of one group of a stream; nil where either is missing. */
const GROUP_OF = `${NAMED}
local function groupOf(stream, group)
  local infos = redis.pcall('XINFO', 'GROUPS', stream)
  if infos.err then return nil end
  for _, flat in ipairs(infos) do
    local found = named(flat)
    if found.name == group then return found end
  end
  return nil
end
`

/** KEYS stream · [length, id of the oldest entry or empty, bytes]. */
export const TOPIC_INFO: Script = script(
  'topic-info',
  `
local length = redis.pcall('XLEN', KEYS[1])
if type(length) == 'table' or length == 0 then return { 0, '', 0 } end
local bytes = redis.pcall('MEMORY', 'USAGE', KEYS[1])
return { length, redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1][1], type(bytes) == 'number' and bytes or -1 }
`,
)

/** KEYS streams · names of their groups, each as often as it is found. */
export const GROUP_NAMES: Script = script(
  'group-names',
  `${NAMED}
local names = {}
for _, stream in ipairs(KEYS) do
  local infos = redis.pcall('XINFO', 'GROUPS', stream)
  for _, info in ipairs(infos.err and {} or infos) do names[#names + 1] = named(info).name end
end
return names
`,
)

/**
 * Entries that a group has not received yet. The server has its own count (since 7), which is wrong after a start from
 * its append-only file and on a replica that became the primary: deliveries are replayed without it. So it is used only
 * while the server is still the process that was given the right number; see `counted`. Otherwise entries are counted,
 * up to 10,000 in one go: then the id after which to continue comes last.
 */
const COUNT = `
local pages = 20
local function countAfter(stream, from)
  local count = 0
  while pages > 0 do
    pages = pages - 1
    local page = redis.call('XRANGE', stream, '(' .. from, '+', 'COUNT', 500)
    count = count + #page
    if #page < 500 then return count, '' end
    from = page[#page][1]
  end
  return count, from
end
`

/** `newest`: id of the newest entry that was ever added; `counted`: the process that was given the right number. Both may be unknown. */
const UNREAD = `${COUNT}${GROUP_OF}${SERVER_ID}
local function unread(stream, group, newest, counted)
  local found = groupOf(stream, group)
  if not found then return nil end
  local delivered = found['last-delivered-id']
  if delivered == newest then return 0, found.pending, nil, '', delivered end
  local first = redis.call('XRANGE', stream, '(' .. delivered, '+', 'COUNT', 1)[1]
  if not first then return 0, found.pending, nil, '', delivered end
  if counted and type(found.lag) == 'number' and counted == serverId() then
    -- What was removed before it was read is not there to be read.
    return math.min(found.lag, redis.call('XLEN', stream)), found.pending, first, '', delivered
  end
  local count, from = countAfter(stream, delivered)
  return count, found.pending, first, from, delivered
end
`

/**
 * KEYS for each partition: stream, side, later, side later, delayed, delayed of the group, meta · ARGV group, then for each its number
 * and a colon · for each: [unread, pending, of the pending: waiting for their time, due, delayed, oldest unacked id or empty, for the
 * stream and the side: the id after which to continue counting unread entries, or empty; of the stream: ids of the first and the last
 * entry, of the last one before the oldest unsettled, and of that one, all of them perhaps empty; 1 when entries were removed; and the
 * owner of the partition (process and member), or empty]. Where the group is missing, -1 are unread.
 */
export const GROUP_INFO: Script = script(
  'group-info',
  `${UNREAD}${NOW}
local group, metas, beside, result = ARGV[1], {}, {}, {}
for key = 1, #KEYS, 7 do
  for at = key + 1, key + 5 do beside[#beside + 1] = KEYS[at] end
end
local isAlone = redis.call('EXISTS', unpack(beside)) == 0
local function info(stream, side, later, sideLater, delayedOfAll, delayedOfGroup, meta, part)
  metas[meta] = metas[meta] or named(redis.call('HGETALL', meta))
  local owner = metas[meta][part .. 'owner'] or ''
  local start, head, removed, found = '', '', 0, {}
  local reply = redis.pcall('XINFO', 'STREAM', stream)
  if not reply.err then
    found = named(reply)
    start = found['first-entry'] and found['first-entry'][1] or ''
    head = found['last-entry'] and found['last-entry'][1] or ''
    removed = (found['entries-added'] or 0) > found.length and 1 or 0
  end
  local counted = metas[meta][part .. 'counted']
  local count, pending, first, more, delivered = unread(stream, group, found['last-generated-id'], counted)
  if not count then return { -1, 0, 0, 0, 0, '', '', '', start, head, '', '', removed, '' } end
  local oldest = first and first[1] or ''
  if pending > 0 then oldest = redis.call('XPENDING', stream, group)[2] or oldest end
  local unsettled, settled = oldest, head
  if oldest ~= '' then
    local before = redis.call('XREVRANGE', stream, '(' .. oldest, '-', 'COUNT', 1)[1]
    settled = before and before[1] or ''
  elseif head == '' and delivered ~= '0-0' then settled = delivered end
  local waiting, due, delayed, sideMore = 0, 0, 0, ''
  if not isAlone then
    local sideCount, sidePending, sideFirst, sideFrom = unread(side, group)
    if sideCount then
      count = count + sideCount
      pending = pending + sidePending
      sideMore = sideFrom
      if oldest == '' and sideFirst then oldest = sideFirst[1] end
      if oldest == '' and sidePending > 0 then oldest = redis.call('XPENDING', side, group)[2] or '' end
    end
    for _, set in ipairs({ later, sideLater }) do
      local ready = redis.call('ZCOUNT', set, '-inf', now)
      waiting = waiting + redis.call('ZCARD', set) - ready
      due = due + ready
    end
    delayed = redis.call('ZCARD', delayedOfAll) + redis.call('ZCARD', delayedOfGroup)
  end
  return {
    count, pending, waiting, due, delayed, oldest, more, sideMore, start, head, settled, unsettled, removed,
    owner ~= '?' and owner or '',
  }
end
for key = 1, #KEYS, 7 do
  local of = { unpack(KEYS, key, key + 6) }
  of[8] = ARGV[(key - 1) / 7 + 2]
  result[#result + 1] = info(unpack(of))
end
return result
`,
)

/**
 * KEYS for each group: its assignment, hashes, and what may exist beside them · ARGV for each group: 1 when its assignment is among
 * them, number of hashes, number of the others · for each: the revision of the assignment, or empty; and 1 when all hashes exist and
 * nothing else. Usually two commands, and one for each group.
 */
export const LOOK_AT_GROUPS: Script = script(
  'look-at-groups',
  `
local groups, hashes, others, key = {}, {}, {}, 1
for at = 1, #ARGV, 3 do
  local group = { hashes = {}, others = {} }
  if ARGV[at] == '1' then
    group.assignment = KEYS[key]
    key = key + 1
  end
  for _ = 1, tonumber(ARGV[at + 1]) do
    group.hashes[#group.hashes + 1], hashes[#hashes + 1] = KEYS[key], KEYS[key]
    key = key + 1
  end
  for _ = 1, tonumber(ARGV[at + 2]) do
    group.others[#group.others + 1], others[#others + 1] = KEYS[key], KEYS[key]
    key = key + 1
  end
  groups[#groups + 1] = group
end
local function isAlone(of)
  return redis.call('EXISTS', unpack(of.hashes)) == #of.hashes and redis.call('EXISTS', unpack(of.others)) == 0
end
local areAlone, result = isAlone({ hashes = hashes, others = others }), {}
for _, group in ipairs(groups) do
  -- A key of the wrong type must not fail the look at other groups.
  local revision = group.assignment and redis.pcall('HGET', group.assignment, '#revision')
  result[#result + 1] = { type(revision) == 'string' and revision or '', (areAlone or isAlone(group)) and 1 or 0 }
end
return result
`,
)

/**
 * KEYS streams, then sorted sets of what was handed back · ARGV group, number of streams, for each an id up to which the group has
 * surely read · 1 when something may be there for the group, unread or handed back; otherwise 0. Three commands if there is nothing.
 */
export const MAY_BE_READY: Script = script(
  'may-be-ready',
  `${GROUP_OF}
local streams = tonumber(ARGV[2])
if redis.call('EXISTS', unpack(KEYS, streams + 1)) > 0 then return 1 end
local asked = { 'COUNT', 1, 'STREAMS' }
for at = 1, streams do
  asked[3 + at] = KEYS[at]
  asked[3 + streams + at] = ARGV[2 + at]
end
local newer = redis.pcall('XREAD', unpack(asked))
if not newer then return 0 end
if newer.err then return 1 end
for _, found in ipairs(newer) do
  local known = groupOf(found[1], ARGV[1])
  if known and redis.call('XRANGE', found[1], '(' .. known['last-delivered-id'], '+', 'COUNT', 1)[1] then return 1 end
end
return 0
`,
)

/** KEYS stream · ARGV id · [entries after it, up to 10,000; the id after which to continue, or empty]. */
export const COUNT_AFTER: Script = script(
  'count-after',
  `${COUNT}
return { countAfter(KEYS[1], ARGV[1]) }
`,
)

/**
 * KEYS stream · ARGV ids ... · deletes entries, also from what groups have pending, so that no group misses them.
 * Returns how many there were.
 */
export const REMOVE: Script = script(
  'remove',
  `
local infos = redis.pcall('XINFO', 'GROUPS', KEYS[1])
if not infos.err then
  for _, info in ipairs(infos) do
    for at = 1, #info, 2 do
      if info[at] == 'name' then
        redis.call('XACK', KEYS[1], info[at + 1], unpack(ARGV))
        redis.call('ZREM', KEYS[1] .. ':later:' .. info[at + 1], unpack(ARGV))
        redis.call('HDEL', KEYS[1] .. ':notes:' .. info[at + 1], unpack(ARGV))
      end
    end
  end
end
local removed = redis.pcall('XDEL', KEYS[1], unpack(ARGV))
if type(removed) == 'table' then return 0 end
return removed
`,
)

/** The newest id that a group has received; empty where the group is missing. */
export const LAST_DELIVERED: string = `${GROUP_OF}
local function lastDelivered(stream, group)
  local found = groupOf(stream, group)
  return found and found['last-delivered-id'] or ''
end
`

/** What the server says of a stream, and of a group of it; nil where they are missing. */
const LOOK_AT = `${GROUP_OF}
local function lookAt(stream, group)
  local reply = redis.pcall('XINFO', 'STREAM', stream)
  if reply.err then return nil end
  return named(reply), groupOf(stream, group)
end
-- What changes when something is added, removed, read or moved; empty when the group has something pending, or is missing.
local function stateOf(info, found)
  if not found or found.pending > 0 then return '' end
  return table.concat({
    info.length, info['last-generated-id'], info['entries-added'] or '', found['last-delivered-id']
  }, ' ')
end
`

/**
 * How far a group has read: id of the newest entry that it received; how many entries were ever added; how many of them
 * are no longer to be read, because they were received or removed, or -1 while some are in the stream before and some
 * after that id; how many the group received by the server's own count, or -1 when that can't be trusted; and the process
 * of the server. Where the server's count is wrong, it is corrected for the next member. Nothing where the group is missing, and an
 * empty id before Redis 7, which does not count.
 */
export const READ_STATE: string = `${SERVER_ID}${BEFORE}${LOOK_AT}
local function readState(info, found, stream, meta, part)
  if not found then return {} end
  local added, oldest, newest = info['entries-added'], info['first-entry'], info['last-entry']
  if not added then return { '' } end
  local last, read, passed, server = found['last-delivered-id'], found['entries-read'], -1, serverId()
  if not newest or not before(last, newest[1]) then passed = added
  elseif before(last, oldest[1]) then passed = added - info.length end
  if type(read) ~= 'number' or server == '' or redis.call('HGET', meta, part .. 'counted') ~= server then read = -1 end
  if passed >= 0 and passed ~= read and server ~= '' then
    redis.call('XGROUP', 'SETID', stream, found.name, last, 'ENTRIESREAD', passed)
    redis.call('HSET', meta, part .. 'counted', server)
  end
  return { last, added, passed, read, server }
end
`

/** KEYS stream, meta · ARGV group, generation · see `readState`; nothing when the partition is no longer the member's. */
export const LOOK: Script = script(
  'look',
  `${FENCE}${READ_STATE}
if not isCurrent(KEYS[2], ARGV[2]) then return {} end
local info, found = lookAt(KEYS[1], ARGV[1])
return readState(info, found, KEYS[1], KEYS[2], (partOf(ARGV[2])))
`,
  { allowOutOfMemory: true },
)

/** KEYS streams · ARGV group · for each what `stateOf` says. */
export const STREAM_STATES: Script = script(
  'stream-states',
  `${LOOK_AT}
local result = {}
for at, stream in ipairs(KEYS) do result[at] = stateOf(lookAt(stream, ARGV[1])) end
return result
`,
)

/** KEYS stream · ARGV group, consumer, id · how many entries after that id other consumers have pending. */
export const PENDING_ELSEWHERE: Script = script(
  'pending-elsewhere',
  `
local page, count = redis.pcall('XPENDING', KEYS[1], ARGV[1], '(' .. ARGV[3], '+', 1000), 0
if page.err then return 0 end
for _, entry in ipairs(page) do
  if entry[2] ~= ARGV[2] and string.sub(entry[2], 1, 1) ~= '@' then count = count + 1 end
end
return count
`,
)
