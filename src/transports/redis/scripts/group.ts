import { BEFORE, FENCE, NOW, script } from './script.ts'
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
 * KEYS stream, meta · ARGV group, start · creates the consumer group where it is missing. If members have read in it
 * before, it continues at their position. Returns 0 when it existed, 1 when it was created, 2 when it was created
 * again; its generation; when it was created, after which id; and when created again, the newest id of the stream, and
 * the stream's state.
 */
export const JOIN: Script = script(
  'join',
  `${NOW}${PLACE}${STREAM_STATE}
local floor = redis.call('HGET', KEYS[2], 'floor')
local state, newest = 1, ''
if floor then
  state = streamState(KEYS[1], floor)
  local info = streamInfo(KEYS[1])
  newest = info and info['last-generated-id'] or ''
end
local made = place('CREATE', KEYS[1], KEYS[2], ARGV[1], floor or ARGV[2])
if made.err and not string.find(made.err, 'BUSYGROUP') then return made end
redis.call('HSETNX', KEYS[2], 'generation', string.format('%.0f', now))
local generation = redis.call('HGET', KEYS[2], 'generation')
if made.err then return { 0, generation } end
if not floor then return { 1, generation, redis.call('HGET', KEYS[2], 'floor') } end
return { 2, generation, floor, newest, state }
`,
)

/**
 * KEYS members, assignment · ARGV member, leaseMs, partitions, kind, 1 to leave, silentMs. Kinds: `k` has its own
 * partitions, `p` the same but paused, `n` reads all partitions beside others.
 *
 * Records that the member lives, removes members that don't, and distributes the partitions: as evenly as possible,
 * moving as few as possible, and none to a paused member while there is another. A member that has been silent for
 * `silentMs` keeps its partitions until its lease ends, but no longer counts in the shares of the others. While any
 * member is silent, a new one gets a share when all that were silent before it came have reported again or were
 * removed, or when it has lived for a lease: a process that dies soon after each of its starts must not take partitions
 * with it each time. Returns the number of members, whether some have their own partitions and others not, the largest
 * number of partitions that a member knows of, and the partitions of this one.
 */
export const BEAT: Script = script(
  'beat',
  `${NOW}
local me, lease, partitions, kind = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local leaving, silent = ARGV[5] == '1', tonumber(ARGV[6])
local members, assignment = KEYS[1], KEYS[2]
local last = tonumber(redis.call('HGET', assignment, '#last') or now)
redis.call('ZREM', members, 'k' .. me, 'p' .. me, 'n' .. me)
if leaving then redis.call('HDEL', assignment, '+' .. me)
else
  -- Nobody's sign of life came through for a while: it was the server that was away, so nobody is dead because of it.
  local away = now - last
  if away > lease / 2 then
    for _, member in ipairs(redis.call('ZRANGE', members, 0, -1)) do redis.call('ZINCRBY', members, away, member) end
  end
  redis.call('ZADD', members, now + lease, kind .. me)
end
for _, member in ipairs(redis.call('ZRANGEBYSCORE', members, '-inf', now)) do
  redis.call('HDEL', assignment, '+' .. string.sub(member, 2))
end
redis.call('ZREMRANGEBYSCORE', members, '-inf', now)

-- Of each member: when it was last heard of, and since when it has been new, or 0.
local byKind, all, silentOnes, settled = { k = {}, p = {}, n = {} }, redis.call('ZRANGE', members, 0, -1), {}, 0
local new, known, heardAt, count = {}, {}, {}, 0
for _, member in ipairs(all) do
  local name, of = string.sub(member, 2), string.sub(member, 1, 1)
  local heard, since = string.match(redis.call('HGET', assignment, '+' .. name) or '', '^(%d+) (%d+)$')
  known[name] = since ~= nil
  heardAt[name] = tonumber(heard)
  new[name] = since and since ~= '0' and tonumber(since) or nil
  byKind[of][#byKind[of] + 1] = name
  count = count + 1
  if name ~= me and heard and now - heardAt[name] > silent then silentOnes[name] = true
  elseif name ~= me and of == 'k' and known[name] and not new[name] then settled = settled + 1 end
end
if not leaving then
  if not known[me] and next(silentOnes) and settled > 0 then new[me] = now end
  local awaited = false
  for name in pairs(silentOnes) do awaited = awaited or (new[me] and heardAt[name] <= new[me]) end
  if new[me] and (not awaited or settled == 0 or now - new[me] >= lease) then new[me] = nil end
  redis.call('HSET', assignment, '+' .. me, string.format('%.0f %.0f', now, new[me] or 0))
end
local most = math.max(partitions, tonumber(redis.call('HGET', assignment, '#partitions') or 0))
redis.call('HSET', assignment, '#last', string.format('%.0f', now), '#partitions', most)
partitions = most

local result = { count, (#byKind.n > 0 and count > #byKind.n) and 1 or 0, most }
local function able(names, newOnes)
  local found = {}
  for _, name in ipairs(names) do
    if not silentOnes[name] and (newOnes or not new[name]) then found[#found + 1] = name end
  end
  return found
end
local sharing = able(byKind.k, false)
if #sharing == 0 then sharing = able(byKind.k, true) end
if #sharing == 0 then sharing = able(byKind.p, true) end
if #sharing == 0 then return result end
table.sort(sharing)
local load = {}
for _, member in ipairs(sharing) do load[member] = 0 end

local owners, orphans, changes, rest = {}, {}, {}, partitions
for partition = 0, partitions - 1 do
  owners[partition] = redis.call('HGET', assignment, partition)
  if owners[partition] and silentOnes[owners[partition]] then rest = rest - 1 end
end
local even, extra = math.floor(rest / #sharing), rest % #sharing
for partition = 0, partitions - 1 do
  local owner = owners[partition]
  if owner and silentOnes[owner] then
    -- Nobody else can have it before its lease has ended.
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
if #changes > 0 then redis.call('HSET', assignment, unpack(changes)) end
for partition = 0, partitions - 1 do
  if owners[partition] == me then result[#result + 1] = partition end
end
return result
`,
  { allowOutOfMemory: true },
)

/**
 * KEYS meta, stream · ARGV member, leaseMs, connection, group · takes a partition without an owner. Returns 1, the new
 * generation, for a former owner whose lease expired: connection, name, and the id up to which everything was acked at
 * its last sign of life; and how far the group has read; or 0 and how long it is taken.
 */
export const ACQUIRE: Script = script(
  'acquire',
  `${NOW}${READ_STATE}
local owner = redis.call('HMGET', KEYS[1], 'owner', 'until', 'connection', 'floor', 'generation')
if owner[1] and owner[1] ~= ARGV[1] and tonumber(owner[2] or 0) > now then return { 0, tonumber(owner[2]) - now } end
-- Joining writes the generation, so this key was deleted, perhaps under a living owner, who puts it back soon.
if not owner[5] and owner[1] ~= '?' then
  redis.call('HSET', KEYS[1], 'owner', '?', 'until', string.format('%.0f', now + tonumber(ARGV[2])))
  return { 0, tonumber(ARGV[2]) }
end
-- Begins with the time, so that it never comes again, not even after the group was deleted.
redis.call('HSETNX', KEYS[1], 'generation', string.format('%.0f', now))
local generation = redis.call('HINCRBY', KEYS[1], 'generation', 1)
redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'until', string.format('%.0f', now + tonumber(ARGV[2])), 'connection', ARGV[3])
-- There from now on: when the next owner does not find it, somebody deleted it.
redis.pcall('XGROUP', 'CREATECONSUMER', KEYS[2], ARGV[4], ARGV[1])
local former = owner[1] and owner[1] ~= '?' and owner[1] ~= ARGV[1]
return {
  1, string.format('%.0f', generation), former and owner[3] or '', former and owner[1] or '', owner[4] or '',
  readState(KEYS[2], KEYS[1], ARGV[4])
}
`,
  { allowOutOfMemory: true },
)

/** KEYS meta · ARGV member, generation, floor · gives a partition back. */
export const RELEASE: Script = script(
  'release',
  `
local owner = redis.call('HMGET', KEYS[1], 'owner', 'generation')
if owner[1] ~= ARGV[1] or owner[2] ~= ARGV[2] then return 0 end
if ARGV[3] ~= '' then redis.call('HSET', KEYS[1], 'floor', ARGV[3]) end
return redis.call('HDEL', KEYS[1], 'owner', 'until', 'connection')
`,
)

/**
 * KEYS stream, meta, later, side, side later, delayed, delayed of the group ARGV group, member, generation, leaseMs (0
 * when partitions have no owner), connection, floor, 1 when something is in flight
 *
 * Renews the lease, records up to where everything is acked (the floor; empty when unknown), moves due entries into the
 * streams, and returns what comes next: [still ours, generation, side stream exists, ms until the next: later, side
 * later, delayed, pending entries or -1 when not requested, and -2 when the group is missing].
 */
export const TICK: Script = script(
  'tick',
  `${NOW}${MOVE_DUE}${IDS}
local meta = redis.call('HMGET', KEYS[2], 'generation', 'owner', 'floor')
local ours = meta[1] == ARGV[3] and 1 or 0
local floor, pending = ARGV[6], -1
if ARGV[4] ~= '0' and meta[2] ~= ARGV[2] then ours = 0 end
if ours == 1 and ARGV[7] == '1' then
  local summary = redis.pcall('XPENDING', KEYS[1], ARGV[1])
  if summary.err then pending = -2
  else
    pending = summary[1]
    -- Without an owner nobody but the server knows what is out.
    if ARGV[4] == '0' and summary[2] then floor = justBefore(summary[2]) end
  end
end
if ours == 1 then
  if floor ~= '' and (not meta[3] or before(meta[3], floor)) then redis.call('HSET', KEYS[2], 'floor', floor) end
  if ARGV[4] ~= '0' then
    redis.call('HSET', KEYS[2], 'until', string.format('%.0f', now + tonumber(ARGV[4])), 'connection', ARGV[5])
  end
end
moveDue(KEYS[6], KEYS[1], nil)
moveDue(KEYS[7], KEYS[4], ARGV[1])
local next, own = untilNext(KEYS[6]), untilNext(KEYS[7])
if next < 0 or (own >= 0 and own < next) then next = own end
return { ours, meta[1] or '', redis.call('EXISTS', KEYS[4]), untilNext(KEYS[3]), untilNext(KEYS[5]), next, pending }
`,
  { allowOutOfMemory: true },
)

/**
 * KEYS stream, meta, later · ARGV group, generation, id after which to read (empty: as last recorded; `side`: it is the
 * stream of copies for the group), member, leaseMs (0 when partitions have no owner), ids of what the member holds ...
 *
 * Creates the group again where it is missing, and makes what the member holds and what was handed back pending again,
 * where the group or a consumer was deleted with it. Returns whether it was missing, how many became pending again, the
 * state of the stream (0 when it was deleted or emptied), and from where the group reads.
 */
export const RESTORE: Script = script(
  'restore',
  `${NOW}${FENCE}${PLACE}${STREAM_STATE}
if redis.call('EXISTS', KEYS[2]) == 1 then
  local fenced = redis.call('HEXISTS', KEYS[2], 'generation') == 1 and fence(KEYS[2], ARGV[2])
  if fenced then return fenced end
end
local start, state, made = '0', 1, nil
if ARGV[3] == 'side' then
  -- Made again with the next copy.
  if redis.call('EXISTS', KEYS[1]) == 0 then return { 0, 0, 0, '' } end
  made = redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0')
else
  start = ARGV[3] ~= '' and ARGV[3] or redis.call('HGET', KEYS[2], 'floor') or '0'
  state = streamState(KEYS[1], start)
  made = place('CREATE', KEYS[1], KEYS[2], ARGV[1], start)
end
if made.err and not string.find(made.err, 'BUSYGROUP') then return made end
if redis.call('HSETNX', KEYS[2], 'generation', ARGV[2]) == 1 and ARGV[5] ~= '0' then
  redis.call('HSET', KEYS[2], 'owner', ARGV[4], 'until', string.format('%.0f', now + tonumber(ARGV[5])))
end
local restored = 0
local function restore(member, id)
  if redis.call('XPENDING', KEYS[1], ARGV[1], id, id, 1)[1] then return end
  restored = restored + #redis.call('XCLAIM', KEYS[1], ARGV[1], member, 0, id, 'FORCE', 'JUSTID')
end
for at = 6, #ARGV do restore(ARGV[4], ARGV[at]) end
for _, id in ipairs(redis.call('ZRANGE', KEYS[3], 0, 999)) do restore('@later', id) end
return { made.err and 0 or 1, restored, state, start }
`,
)

/**
 * KEYS stream, meta, later, notes, side, side later, side notes, delayed of the group · ARGV group · deletes a group.
 * Returns 1 if it existed.
 */
export const FORGET: Script = script(
  'forget',
  `
local gone = redis.pcall('XGROUP', 'DESTROY', KEYS[1], ARGV[1])
redis.call('UNLINK', unpack(KEYS, 2))
if type(gone) == 'table' then return 0 end
return gone
`,
)

/** KEYS stream · ARGV group, live members ... · removes consumers with nothing pending, never others. */
export const SWEEP_CONSUMERS: Script = script(
  'sweep-consumers',
  `
local alive = { ['@later'] = true }
for at = 3, #ARGV do alive[ARGV[at]] = true end
local removed = 0
local consumers = redis.pcall('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])
if consumers.err then return 0 end
for _, info in ipairs(consumers) do
  local consumer = {}
  for at = 1, #info, 2 do consumer[info[at]] = info[at + 1] end
  if consumer.pending == 0 and consumer.idle > tonumber(ARGV[2]) and not alive[consumer.name] then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], consumer.name)
    removed = removed + 1
  end
end
return removed
`,
)
