import { BEFORE, FENCE, NEXT_GENERATION, NOW, script } from './script.ts'
import type { Script } from './script.ts'
import { READ_STATE } from './look.ts'
import { PLACE } from './move.ts'
import { MOVE_DUE } from './publish.ts'

/** Compares stream ids, and finds the one just before. */
const IDS = `${BEFORE}
local function justBefore(id)
  local ms, seq = parts(id)
  if seq > 0 then return string.format('%.0f-%.0f', ms, seq - 1) end
  return string.format('%.0f-18446744073709551615', ms - 1)
end
`

/**
 * What became of a stream that the group had read up to some id: 1 when it exists, 0 when it was deleted or emptied
 * meanwhile, so that unread messages may be lost.
 */
const STREAM_STATE = `${IDS}
local function streamState(stream, read)
  local found = streamInfo(stream)
  if not found or before(found['last-generated-id'], read) then return 0 end
  if not before('0-0', read) then return 1 end
  if #redis.call('XRANGE', stream, '-', read, 'COUNT', 1) > 0 then return 1 end
  -- Everything up to there was removed: by retention, or with the whole stream. Since 7 the server knows.
  if found['entries-added'] and found['entries-added'] > found.length then return 1 end
  return found.length == 0 and 1 or 0
end
`

/**
 * KEYS stream, meta · ARGV group, start, partition, leaseMs · creates the consumer group where it is missing. If members have read in it
 * before, it continues at their position. Returns 0 when it existed, 1 when it was created, 2 when it was created
 * again; its generation; when it was created, after which id; and when created again, the newest id of the stream, and
 * the stream's state.
 */
export const JOIN: Script = script(
  'join',
  `${NOW}${PLACE}${STREAM_STATE}
local part = ARGV[3] .. ':'
local floor = redis.call('HGET', KEYS[2], part .. 'floor')
local state, newest = 1, ''
if floor then
  state = streamState(KEYS[1], floor)
  local info = streamInfo(KEYS[1])
  newest = info and info['last-generated-id'] or ''
end
local made = place('CREATE', KEYS[1], KEYS[2], ARGV[1], floor or ARGV[2], part)
if made.err and not string.find(made.err, 'BUSYGROUP') then return made end
local isNew = redis.call('HSETNX', KEYS[2], part .. 'generation', string.format('%.0f', now)) == 1
-- The hash was deleted, perhaps under a living owner, who does not know yet, and puts it back.
if isNew and made.err and #redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1]) > 0 then
  redis.call('HSET', KEYS[2], part .. 'owner', '?', part .. 'until', string.format('%.0f', now + tonumber(ARGV[4])))
end
local generation = part .. redis.call('HGET', KEYS[2], part .. 'generation')
if made.err then return { 0, generation } end
if not floor then return { 1, generation, redis.call('HGET', KEYS[2], part .. 'floor') } end
return { 2, generation, floor, newest, state }
`,
)

/**
 * KEYS assignment · ARGV member, process, leaseMs, partitions, kind, 1 to leave, then for each process that does not
 * count: name, end of its lease (negative: it is dead). Kinds: `k` has its own partitions, `p` the same but paused, `n`
 * reads all partitions beside others.
 *
 * Records that the member exists, removes members of dead processes, and distributes the partitions: as evenly as
 * possible, moving as few as possible, and none to a paused member while there is another. A member of a silent process
 * keeps its partitions until its lease ends, but no longer counts in the shares of the others. While any member is
 * silent, a new one gets a share when all that were silent before it came have reported again or were removed, or when it
 * has lived for a lease: a process that dies soon after each of its starts must not take partitions with it each time.
 *
 * Returns the number of members; 1 when some have their own partitions and others not; the largest number of partitions
 * that a member knows of; the revision of the assignment; 1 when this call changed it, so that others must look; 1 when
 * this member waits for its share; and its partitions.
 */
export const BEAT: Script = script(
  'beat',
  `${NOW}
local me, process, lease, partitions, kind = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
local leaving, assignment, absent = ARGV[6] == '1', KEYS[1], {}
for at = 7, #ARGV, 2 do absent[ARGV[at]] = tonumber(ARGV[at + 1]) end

local owners, members, changed, most, revision = {}, {}, false, partitions, 0
local flat = redis.call('HGETALL', assignment)
for at = 1, #flat, 2 do
  local field, value = flat[at], flat[at + 1]
  if string.sub(field, 1, 1) == '+' then
    local of, since, by = string.match(value, '^(%a) (%d+) (.*)$')
    if of then members[string.sub(field, 2)] = { kind = of, since = tonumber(since), process = by, text = value } end
  elseif field == '#partitions' then most = math.max(most, tonumber(value))
  elseif field == '#revision' then revision = tonumber(value)
  else owners[tonumber(field)] = value end
end
local known = members[me] ~= nil
local mine = members[me] or { since = 0 }
members[me] = nil
for name, member in pairs(members) do
  if absent[member.process] and absent[member.process] < 0 then
    redis.call('HDEL', assignment, '+' .. name)
    members[name] = nil
    changed = true
  end
end
if leaving and known then
  redis.call('HDEL', assignment, '+' .. me)
  changed = true
end

-- When a silent process was last heard of, of each of its members.
local silentAt, settled = {}, 0
for name, member in pairs(members) do
  local ends = absent[member.process]
  if ends then silentAt[name] = ends - (tonumber(string.match(member.process, '%.(%d+)$')) or lease)
  elseif member.kind == 'k' and member.since == 0 then settled = settled + 1 end
end
if not leaving then
  if not known and next(silentAt) and settled > 0 then mine.since = now end
  local awaited = false
  for _, heard in pairs(silentAt) do awaited = awaited or heard <= mine.since end
  if mine.since > 0 and (not awaited or settled == 0 or now - mine.since >= lease) then mine.since = 0 end
  mine.kind = kind
  local text = string.format('%s %.0f %s', kind, mine.since, process)
  if mine.text ~= text then
    redis.call('HSET', assignment, '+' .. me, text)
    changed = true
  end
  members[me] = mine
end
if most ~= tonumber(redis.call('HGET', assignment, '#partitions') or 0) then
  redis.call('HSET', assignment, '#partitions', most)
  changed = true
end
partitions = most

local byKind, count = { k = 0, p = 0, n = 0 }, 0
for _, member in pairs(members) do
  byKind[member.kind] = byKind[member.kind] + 1
  count = count + 1
end
local function able(of, newOnes)
  local found = {}
  for name, member in pairs(members) do
    if member.kind == of and not silentAt[name] and (newOnes or member.since == 0) then found[#found + 1] = name end
  end
  return found
end
local sharing = able('k', false)
if #sharing == 0 then sharing = able('k', true) end
if #sharing == 0 then sharing = able('p', true) end
if #sharing > 0 then
  table.sort(sharing)
  local load = {}
  for _, member in ipairs(sharing) do load[member] = 0 end
  local orphans, changes, rest = {}, {}, partitions
  for partition = 0, partitions - 1 do
    if owners[partition] and silentAt[owners[partition]] then rest = rest - 1 end
  end
  local even, extra = math.floor(rest / #sharing), rest % #sharing
  for partition = 0, partitions - 1 do
    local owner = owners[partition]
    if owner and silentAt[owner] then
      -- No other member can have it before its lease has ended.
    elseif owner and load[owner] and load[owner] < even then
      load[owner] = load[owner] + 1
    elseif owner and load[owner] and load[owner] == even and extra > 0 then
      load[owner] = load[owner] + 1
      extra = extra - 1
    else
      orphans[#orphans + 1] = partition
      owners[partition] = nil
    end
  end
  for _, partition in ipairs(orphans) do
    local chosen
    for _, member in ipairs(sharing) do
      if load[member] < even and (not chosen or load[member] < load[chosen]) then chosen = member end
    end
    if not chosen then
      for _, member in ipairs(sharing) do
        if load[member] == even then chosen = member break end
      end
    end
    load[chosen] = load[chosen] + 1
    owners[partition] = chosen
    changes[#changes + 1] = partition
    changes[#changes + 1] = chosen
  end
  if #changes > 0 then
    redis.call('HSET', assignment, unpack(changes))
    changed = true
  end
end
if changed then revision = redis.call('HINCRBY', assignment, '#revision', 1) end
local result = {
  count, (byKind.n > 0 and count > byKind.n) and 1 or 0, partitions, string.format('%.0f', revision), changed and 1 or 0,
  mine.since > 0 and 1 or 0
}
for partition = 0, partitions - 1 do
  if not leaving and owners[partition] == me then result[#result + 1] = partition end
end
return result
`,
  { allowOutOfMemory: true },
)

/**
 * KEYS meta, stream · ARGV owner (process and member), leaseMs, reader (see `readerName`), group, dead process, partition · takes a
 * partition without an owner, or whose owner is of that process. Returns 1, the new generation, 1 when a former owner died, and
 * its reader; the id up to which everything was acked at its last sign of life; how far the group has read; the newest id
 * that it has received, or empty; and what `stateOf` says. Otherwise 0 and its owner: empty while it is unknown whether it has one.
 */
export const ACQUIRE: Script = script(
  'acquire',
  `${NOW}${NEXT_GENERATION}${READ_STATE}
local part = ARGV[6] .. ':'
local owner = redis.call(
  'HMGET', KEYS[1], part .. 'owner', part .. 'until', part .. 'reader', part .. 'floor', part .. 'generation'
)
local process = owner[1] and string.match(owner[1], '^%S+')
if owner[1] == '?' then
  if tonumber(owner[2] or 0) > now then return { 0, '' } end
elseif owner[1] and owner[1] ~= ARGV[1] and process ~= ARGV[5] then return { 0, owner[1] }
elseif not owner[5] then
  -- Joining writes the generation, so this key was deleted, perhaps under a living owner, who puts it back soon.
  redis.call('HSET', KEYS[1], part .. 'owner', '?', part .. 'until', string.format('%.0f', now + tonumber(ARGV[2])))
  return { 0, '' }
end
local generation = nextGeneration(KEYS[1], part)
redis.call('HSET', KEYS[1], part .. 'owner', ARGV[1], part .. 'reader', ARGV[3])
if owner[2] then redis.call('HDEL', KEYS[1], part .. 'until') end
-- It stays from now on: when the next owner does not find it, it was deleted.
redis.pcall('XGROUP', 'CREATECONSUMER', KEYS[2], ARGV[4], string.match(ARGV[3], '^%S* %S* (.*)$'))
local former = owner[1] and owner[1] ~= '?' and owner[1] ~= ARGV[1]
local info, found = lookAt(KEYS[2], ARGV[4])
return {
  1, part .. generation, former and 1 or 0, former and owner[3] or '', owner[4] or '',
  readState(info, found, KEYS[2], KEYS[1], part), found and found['last-delivered-id'] or '', stateOf(info, found)
}
`,
  { allowOutOfMemory: true },
)

/** KEYS meta · ARGV owner, generation (only its partition: whatever it is), floor · gives a partition back. */
export const RELEASE: Script = script(
  'release',
  `${FENCE}
local part, number = partOf(ARGV[2])
local owner = redis.call('HMGET', KEYS[1], part .. 'owner', part .. 'generation')
if owner[1] ~= ARGV[1] or (number ~= '' and owner[2] ~= number) then return 0 end
if ARGV[3] ~= '' then redis.call('HSET', KEYS[1], part .. 'floor', ARGV[3]) end
return redis.call('HDEL', KEYS[1], part .. 'owner', part .. 'reader')
`,
)

/**
 * KEYS assignment, then for each partition: stream, meta, later, side, side later, delayed, delayed of the group · ARGV
 * group, owner (empty when partitions have none), reader, then for each partition: generation, floor, 1 when something
 * is in flight
 *
 * Records up to where everything is acked (the floor; empty when unknown), moves due entries into the streams, and looks
 * at what exists beside them. Returns the revision of the assignment, and for each partition: [still ours, generation (empty
 * while it is unknown whether there is an owner),
 * side stream exists, ms until the next: later, side later, delayed, pending entries or -1 when not requested, and -2 when
 * the group is missing].
 */
export const INSPECT: Script = script(
  'inspect',
  `${NOW}${MOVE_DUE}${IDS}${FENCE}
local function inspect(stream, meta, later, side, sideLater, delayed, own, generation, floor, isBusy)
  local part = partOf(generation)
  local stored = redis.call('HMGET', meta, part .. 'generation', part .. 'owner', part .. 'floor', part .. 'reader')
  stored[1] = stored[1] and part .. stored[1]
  local current = stored[2] ~= '?' and stored[1] or ''
  local ours = (stored[1] == generation and (ARGV[2] == '' or stored[2] == ARGV[2])) and 1 or 0
  local pending = -1
  if ours == 1 and isBusy then
    local summary = redis.pcall('XPENDING', stream, ARGV[1])
    if summary.err then pending = -2
    else
      pending = summary[1]
      -- Without an owner only the server knows what is out.
      if ARGV[2] == '' and summary[2] then floor = justBefore(summary[2]) end
    end
  end
  if ours == 1 then
    if floor ~= '' and (not stored[3] or before(stored[3], floor)) then redis.call('HSET', meta, part .. 'floor', floor) end
    if ARGV[2] ~= '' and stored[4] ~= ARGV[3] then redis.call('HSET', meta, part .. 'reader', ARGV[3]) end
  end
  if redis.call('EXISTS', later, side, sideLater, delayed, own) == 0 then
    return { ours, current, 0, -1, -1, -1, pending }
  end
  moveDue(delayed, stream, nil)
  moveDue(own, side, ARGV[1])
  local next, nextOwn = untilNext(delayed), untilNext(own)
  if next < 0 or (nextOwn >= 0 and nextOwn < next) then next = nextOwn end
  return { ours, current, redis.call('EXISTS', side), untilNext(later), untilNext(sideLater), next, pending }
end
local result, at = { redis.call('HGET', KEYS[1], '#revision') or '' }, 4
for key = 2, #KEYS, 7 do
  local keys = { unpack(KEYS, key, key + 6) }
  keys[8], keys[9], keys[10] = ARGV[at], ARGV[at + 1], ARGV[at + 2] == '1'
  result[#result + 1] = inspect(unpack(keys))
  at = at + 3
end
return result
`,
  { allowOutOfMemory: true },
)

/**
 * KEYS stream, meta, later · ARGV group, generation, id after which to read (empty: as last recorded; `side`: it is the
 * stream of copies for the group), consumer, owner (empty when partitions have none), ids of what the member holds ...
 *
 * Creates the group again where it is missing, and makes what the member holds and what was handed back pending again,
 * where the group or a consumer was deleted with it. Returns whether it was missing, how many became pending again, the
 * state of the stream (0 when it was deleted or emptied), and from where the group reads.
 */
export const RESTORE: Script = script(
  'restore',
  `${NOW}${FENCE}${PLACE}${STREAM_STATE}
local part, number = partOf(ARGV[2])
local owner = redis.call('HMGET', KEYS[2], part .. 'owner', part .. 'until')
local isUnknown = owner[1] == '?'
if isUnknown and ARGV[5] == '' then
  redis.call('HDEL', KEYS[2], part .. 'owner')
  -- Nobody has put the hash back for a lease: where partitions have no owners, those who came later have them.
  if tonumber(owner[2] or 0) <= now then isUnknown = false end
end
local fenced = not isUnknown and redis.call('HEXISTS', KEYS[2], part .. 'generation') == 1 and fence(KEYS[2], ARGV[2])
if fenced then return fenced end
if isUnknown then redis.call('HDEL', KEYS[2], part .. 'generation', part .. 'until') end
local start, state, made = '0', 1, nil
if ARGV[3] == 'side' then
  -- Made again with the next copy.
  if redis.call('EXISTS', KEYS[1]) == 0 then return { 0, 0, 0, '' } end
  made = redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0')
else
  start = ARGV[3] ~= '' and ARGV[3] or redis.call('HGET', KEYS[2], part .. 'floor') or '0'
  state = streamState(KEYS[1], start)
  made = place('CREATE', KEYS[1], KEYS[2], ARGV[1], start, part)
end
if made.err and not string.find(made.err, 'BUSYGROUP') then return made end
if redis.call('HSETNX', KEYS[2], part .. 'generation', number) == 1 and ARGV[5] ~= '' then
  -- Its connection follows with the next sign of life.
  redis.call('HSET', KEYS[2], part .. 'owner', ARGV[5], part .. 'reader', '  ' .. ARGV[4])
end
local restored = 0
local function restore(consumer, id)
  if redis.call('XPENDING', KEYS[1], ARGV[1], id, id, 1)[1] then return end
  restored = restored + #redis.call('XCLAIM', KEYS[1], ARGV[1], consumer, 0, id, 'FORCE', 'JUSTID')
end
for at = 6, #ARGV do restore(ARGV[4], ARGV[at]) end
for _, id in ipairs(redis.call('ZRANGE', KEYS[3], 0, 999)) do restore('@later', id) end
return { made.err and 0 or 1, restored, state, start }
`,
)

/**
 * KEYS stream, meta, later, notes, side, side later, side notes, delayed of the group · ARGV group, partition · deletes a
 * group of a partition. Returns 1 if it existed.
 */
export const FORGET: Script = script(
  'forget',
  `
local gone = redis.pcall('XGROUP', 'DESTROY', KEYS[1], ARGV[1])
redis.call('UNLINK', unpack(KEYS, 3))
for _, field in ipairs({ 'generation', 'owner', 'reader', 'until', 'floor', 'counted' }) do
  redis.call('HDEL', KEYS[2], ARGV[2] .. ':' .. field)
end
if type(gone) == 'table' then return 0 end
return gone
`,
)

/** KEYS streams · ARGV group, idle ms, consumer · removes consumers with nothing pending, but never that one. */
export const SWEEP_CONSUMERS: Script = script(
  'sweep-consumers',
  `
local removed = 0
for _, stream in ipairs(KEYS) do
  local consumers = redis.pcall('XINFO', 'CONSUMERS', stream, ARGV[1])
  for _, info in ipairs(consumers.err and {} or consumers) do
    local consumer = {}
    for at = 1, #info, 2 do consumer[info[at]] = info[at + 1] end
    local isAlive = consumer.name == '@later' or consumer.name == ARGV[3] or consumer.idle <= tonumber(ARGV[2])
    if consumer.pending == 0 and not isAlive then
      redis.call('XGROUP', 'DELCONSUMER', stream, ARGV[1], consumer.name)
      removed = removed + 1
    end
  end
end
return removed
`,
)
