import { BEFORE, FENCE, NOW, script, SERVER_ID } from './script.ts'
import type { Script } from './script.ts'

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

/** KEYS stream · names of its groups. */
export const GROUP_NAMES: Script = script(
  'group-names',
  `
local infos = redis.pcall('XINFO', 'GROUPS', KEYS[1])
local names = {}
if infos.err then return names end
for _, info in ipairs(infos) do
  for at = 1, #info, 2 do
    if info[at] == 'name' then names[#names + 1] = info[at + 1] end
  end
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
local function countAfter(stream, from)
  local count = 0
  for _ = 1, 20 do
    local page = redis.call('XRANGE', stream, '(' .. from, '+', 'COUNT', 500)
    count = count + #page
    if #page < 500 then return count, '' end
    from = page[#page][1]
  end
  return count, from
end
`

const UNREAD = `${COUNT}
local function unread(stream, group, believed)
  local infos = redis.pcall('XINFO', 'GROUPS', stream)
  if infos.err then return nil end
  for _, info in ipairs(infos) do
    local found = {}
    for at = 1, #info, 2 do found[info[at]] = info[at + 1] end
    if found.name == group then
      local delivered = found['last-delivered-id']
      local first = redis.call('XRANGE', stream, '(' .. delivered, '+', 'COUNT', 1)[1]
      if not first then return 0, found.pending, nil, '', delivered end
      if believed and type(found.lag) == 'number' then
        -- What was removed before it was read is not there to be read.
        return math.min(found.lag, redis.call('XLEN', stream)), found.pending, first, '', delivered
      end
      local count, from = countAfter(stream, delivered)
      return count, found.pending, first, from, delivered
    end
  end
  return nil
end
`

/**
 * KEYS stream, side, later, side later, delayed, delayed of the group, meta · ARGV group, partition · [unread, pending, of the
 * pending: waiting for their time, due, delayed, oldest unacked id or empty, for the stream and the side: the id
 * after which to continue counting unread entries, or empty; of the stream: ids of the first and the last entry, of the
 * last one before the oldest unsettled, and of that one, all of them perhaps empty; 1 when entries were removed; and the
 * owner of the partition (process and member), or empty].
 */
export const GROUP_INFO: Script = script(
  'group-info',
  `${NOW}${SERVER_ID}${UNREAD}
local waiting, due = 0, 0
local function later(set)
  local all = redis.call('ZCARD', set)
  local ready = redis.call('ZCOUNT', set, '-inf', now)
  waiting = waiting + all - ready
  due = due + ready
end
local lease = redis.call('HMGET', KEYS[7], ARGV[2] .. ':counted', ARGV[2] .. ':owner')
local owner = lease[2] and lease[2] ~= '?' and lease[2] or ''
local start, head, removed = '', '', 0
local info, stream = redis.pcall('XINFO', 'STREAM', KEYS[1]), {}
if not info.err then
  for at = 1, #info, 2 do stream[info[at]] = info[at + 1] end
  start = stream['first-entry'] and stream['first-entry'][1] or ''
  head = stream['last-entry'] and stream['last-entry'][1] or ''
  removed = (stream['entries-added'] or 0) > stream.length and 1 or 0
end
local count, pending, first, more, delivered = unread(KEYS[1], ARGV[1], lease[1] == serverId())
if not count then return { 0, 0, 0, 0, 0, '', '', '', start, head, '', '', removed, '' } end
local oldest = first and first[1] or ''
if pending > 0 then
  local summary = redis.call('XPENDING', KEYS[1], ARGV[1])
  if summary[2] then oldest = summary[2] end
end
local unsettled, settled = oldest, head
if oldest ~= '' then
  local before = redis.call('XREVRANGE', KEYS[1], '(' .. oldest, '-', 'COUNT', 1)[1]
  settled = before and before[1] or ''
elseif head == '' and delivered ~= '0-0' then settled = delivered end
local sideCount, sidePending, sideFirst, sideMore = unread(KEYS[2], ARGV[1], false)
if sideCount then
  count = count + sideCount
  pending = pending + sidePending
  if oldest == '' and sideFirst then oldest = sideFirst[1] end
  if oldest == '' and sidePending > 0 then oldest = redis.call('XPENDING', KEYS[2], ARGV[1])[2] or '' end
end
later(KEYS[3])
later(KEYS[4])
local delayed = redis.call('ZCARD', KEYS[5]) + redis.call('ZCARD', KEYS[6])
return {
  count, pending, waiting, due, delayed, oldest, more, sideMore or '', start, head, settled, unsettled, removed, owner,
}
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
export const LAST_DELIVERED = `
local function lastDelivered(stream, group)
  local infos = redis.pcall('XINFO', 'GROUPS', stream)
  if infos.err then return '' end
  for _, info in ipairs(infos) do
    local found = {}
    for at = 1, #info, 2 do found[info[at]] = info[at + 1] end
    if found.name == group then return found['last-delivered-id'] end
  end
  return ''
end
`

/**
 * How far a group has read: id of the newest entry that it received; how many entries were ever added; how many of them
 * are no longer to be read, because they were received or removed, or -1 while some are in the stream before and some
 * after that id; how many the group received by the server's own count, or -1 when that can't be trusted; and the process
 * of the server. Where the server's count is wrong, it is corrected for the next member. Nothing before Redis 7.
 */
export const READ_STATE: string = `${SERVER_ID}${BEFORE}
local function readState(stream, meta, group, part)
  local function named(flat)
    local found = {}
    for at = 1, #flat, 2 do found[flat[at]] = flat[at + 1] end
    return found
  end
  local reply = redis.pcall('XINFO', 'STREAM', stream)
  if reply.err then return {} end
  local info = named(reply)
  local added, oldest, newest = info['entries-added'], info['first-entry'], info['last-entry']
  if not added then return {} end
  for _, entry in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    local found = named(entry)
    if found.name == group then
      local last, read, passed, server = found['last-delivered-id'], found['entries-read'], -1, serverId()
      if not newest or not before(last, newest[1]) then passed = added
      elseif before(last, oldest[1]) then passed = added - info.length end
      if type(read) ~= 'number' or server == '' or redis.call('HGET', meta, part .. 'counted') ~= server then read = -1 end
      if passed >= 0 and passed ~= read and server ~= '' then
        redis.call('XGROUP', 'SETID', stream, group, last, 'ENTRIESREAD', passed)
        redis.call('HSET', meta, part .. 'counted', server)
      end
      return { last, added, passed, read, server }
    end
  end
  return {}
end
`

/** KEYS stream, meta · ARGV group, generation · see `readState`; nothing when the partition is no longer the member's. */
export const LOOK: Script = script(
  'look',
  `${FENCE}${READ_STATE}
if not isCurrent(KEYS[2], ARGV[2]) then return {} end
return readState(KEYS[1], KEYS[2], ARGV[1], partOf(ARGV[2]))
`,
  { allowOutOfMemory: true },
)

/**
 * KEYS streams · ARGV group · for each what changes when something is added, removed, read or moved; empty when the group has
 * something pending, or is missing.
 */
export const STREAM_STATES: Script = script(
  'stream-states',
  `
local function named(flat)
  local found = {}
  for at = 1, #flat, 2 do found[flat[at]] = flat[at + 1] end
  return found
end
local result = {}
for at, stream in ipairs(KEYS) do
  result[at] = ''
  local reply = redis.pcall('XINFO', 'STREAM', stream)
  if not reply.err then
    local info = named(reply)
    for _, flat in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
      local group = named(flat)
      if group.name == ARGV[1] and group.pending == 0 then
        result[at] = table.concat({
          info.length, info['last-generated-id'], info['entries-added'] or '', group['last-delivered-id']
        }, ' ')
      end
    end
  end
end
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
