import { NOW, script, SERVER_ID } from './script.ts'
import type { Script } from './script.ts'
import { MOVE_DUE } from './publish.ts'

/**
 * Creates or moves a group. Servers since 7 are told how many entries lie before the place, those that were removed
 * included: from that they know the lag, and we what was removed before it was read. `counted` says which process of the
 * server knows it.
 */
const PLACE = `${SERVER_ID}
local function place(command, stream, meta, group, start, ...)
  -- This field came with the same version.
  if not redis.REDIS_VERSION_NUM or (start ~= '0' and start ~= '$') then
    local done = redis.pcall('XGROUP', command, stream, group, start, ...)
    if not done.err then redis.call('HDEL', meta, 'counted') end
    return done
  end
  local read = 0
  local info = redis.pcall('XINFO', 'STREAM', stream)
  if not info.err then
    local found = {}
    for at = 1, #info, 2 do found[info[at]] = info[at + 1] end
    local added = found['entries-added']
    read = start == '$' and added or added - found.length
  end
  local told = { 'XGROUP', command, stream, group, start, ... }
  told[#told + 1] = 'ENTRIESREAD'
  told[#told + 1] = read
  local done = redis.pcall(unpack(told))
  if not done.err then redis.call('HSET', meta, 'counted', serverId()) end
  return done
end
`

/**
 * KEYS stream, meta · ARGV group, start · creates the consumer group where it is missing.
 * Returns whether it was, and the generation of the group.
 */
export const JOIN: Script = script(
  'join',
  `${NOW}${PLACE}
local made = place('CREATE', KEYS[1], KEYS[2], ARGV[1], ARGV[2], 'MKSTREAM')
if made.err and not string.find(made.err, 'BUSYGROUP') then return made end
redis.call('HSETNX', KEYS[2], 'generation', string.format('%.0f', now))
return { made.err and 0 or 1, redis.call('HGET', KEYS[2], 'generation') }
`,
)

/**
 * KEYS members, assignment · ARGV member, leaseMs, partitions, kind, 1 to leave. Kinds: `k` has partitions of its own, `p` the
 * same but paused, `n` reads all partitions beside others.
 *
 * Notes that the member lives, forgets those that don't, and shares the partitions out: as evenly as can be, moving as few
 * as can be, and none to a paused member while there is another. Returns the number of members, whether some have
 * partitions of their own and others not, and the partitions of this one.
 */
export const BEAT: Script = script(
  'beat',
  `${NOW}
local me, lease, partitions, kind = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local last = tonumber(redis.call('HGET', KEYS[2], '#last') or now)
redis.call('ZREM', KEYS[1], 'k' .. me, 'p' .. me, 'n' .. me)
if ARGV[5] ~= '1' then
  -- Nobody's sign of life came through for a while: it was the server that was away, so nobody is dead because of it.
  local silence = now - last
  if silence > lease / 2 then
    for _, member in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do redis.call('ZINCRBY', KEYS[1], silence, member) end
  end
  redis.call('ZADD', KEYS[1], now + lease, kind .. me)
end
redis.call('HSET', KEYS[2], '#last', string.format('%.0f', now))
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)

local byKind = { k = {}, p = {}, n = {} }
for _, member in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  local list = byKind[string.sub(member, 1, 1)]
  list[#list + 1] = string.sub(member, 2)
end
local count = #byKind.k + #byKind.p + #byKind.n
local result = { count, (#byKind.n > 0 and count > #byKind.n) and 1 or 0 }
local members = #byKind.k > 0 and byKind.k or byKind.p
if #members == 0 then return result end
table.sort(members)
local load = {}
for _, member in ipairs(members) do load[member] = 0 end

local even, extra = math.floor(partitions / #members), partitions % #members
local owners, orphans, changes = {}, {}, {}
for partition = 0, partitions - 1 do
  local owner = redis.call('HGET', KEYS[2], partition)
  if owner and load[owner] and load[owner] < even then
    load[owner] = load[owner] + 1
  elseif owner and load[owner] and load[owner] == even and extra > 0 then
    load[owner] = load[owner] + 1
    extra = extra - 1
  else
    orphans[#orphans + 1] = partition
    owner = nil
  end
  owners[partition] = owner
end
for _, partition in ipairs(orphans) do
  local chosen
  for _, member in ipairs(members) do
    if load[member] < even and (not chosen or load[member] < load[chosen]) then chosen = member end
  end
  if not chosen then
    for _, member in ipairs(members) do
      if load[member] == even then chosen = member break end
    end
  end
  load[chosen] = load[chosen] + 1
  owners[partition] = chosen
  changes[#changes + 1] = partition
  changes[#changes + 1] = chosen
end
if #changes > 0 then redis.call('HSET', KEYS[2], unpack(changes)) end
for partition = 0, partitions - 1 do
  if owners[partition] == me then result[#result + 1] = partition end
end
return result
`,
  { allowOutOfMemory: true },
)

/**
 * KEYS meta · ARGV member, leaseMs, connection · takes a partition that nobody holds.
 * Returns 1, the new generation and the connection of a former owner whose lease ran out; or 0 and how long it is taken.
 */
export const ACQUIRE: Script = script(
  'acquire',
  `${NOW}
local owner = redis.call('HMGET', KEYS[1], 'owner', 'until', 'connection')
if owner[1] and owner[1] ~= ARGV[1] and tonumber(owner[2] or 0) > now then return { 0, tonumber(owner[2]) - now } end
-- Begins with the time, so that it never comes again, not even after the group was deleted.
redis.call('HSETNX', KEYS[1], 'generation', string.format('%.0f', now))
local generation = redis.call('HINCRBY', KEYS[1], 'generation', 1)
redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'until', string.format('%.0f', now + tonumber(ARGV[2])), 'connection', ARGV[3])
return { 1, string.format('%.0f', generation), (owner[1] and owner[1] ~= ARGV[1]) and owner[3] or '' }
`,
  { allowOutOfMemory: true },
)

/** KEYS meta · ARGV member, generation · gives a partition back. */
export const RELEASE: Script = script(
  'release',
  `
local owner = redis.call('HMGET', KEYS[1], 'owner', 'generation')
if owner[1] ~= ARGV[1] or owner[2] ~= ARGV[2] then return 0 end
return redis.call('HDEL', KEYS[1], 'owner', 'until', 'connection')
`,
)

/**
 * KEYS stream, meta, later, side, side later, delayed, delayed of the group
 * ARGV group, member, generation, leaseMs (0 when partitions have no owner), connection
 *
 * Renews the lease, moves what is due into the streams, and tells what comes next. Returns
 * [still ours, generation, side stream exists, ms until the next: later, side later, delayed].
 */
export const TICK: Script = script(
  'tick',
  `${NOW}${MOVE_DUE}
local meta = redis.call('HMGET', KEYS[2], 'generation', 'owner')
local ours = meta[1] == ARGV[3] and 1 or 0
if ARGV[4] ~= '0' then
  if meta[2] ~= ARGV[2] then ours = 0 end
  if ours == 1 then
    redis.call('HSET', KEYS[2], 'until', string.format('%.0f', now + tonumber(ARGV[4])), 'connection', ARGV[5])
  end
end
moveDue(KEYS[6], KEYS[1], nil)
moveDue(KEYS[7], KEYS[4], ARGV[1])
local next, own = untilNext(KEYS[6]), untilNext(KEYS[7])
if next < 0 or (own >= 0 and own < next) then next = own end
return { ours, meta[1] or '', redis.call('EXISTS', KEYS[4]), untilNext(KEYS[3]), untilNext(KEYS[5]), next }
`,
  { allowOutOfMemory: true },
)

/**
 * KEYS stream, meta, later · ARGV group, start · moves a group and forgets what it has pending. The generation goes up, so
 * that nobody settles what was handed out before.
 */
export const SEEK: Script = script(
  'seek',
  `${NOW}${PLACE}
local made = place('CREATE', KEYS[1], KEYS[2], ARGV[1], ARGV[2], 'MKSTREAM')
if made.err then
  if not string.find(made.err, 'BUSYGROUP') then return made end
  local moved = place('SETID', KEYS[1], KEYS[2], ARGV[1], ARGV[2])
  if moved.err then return moved end
end
repeat
  local page = redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1000)
  for _, entry in ipairs(page) do redis.call('XACK', KEYS[1], ARGV[1], entry[1]) end
until #page < 1000
redis.call('DEL', KEYS[3])
redis.call('HSETNX', KEYS[2], 'generation', string.format('%.0f', now))
return redis.call('HINCRBY', KEYS[2], 'generation', 1)
`,
)

/** KEYS stream, meta, later, side, side later, delayed of the group · ARGV group · forgets a group. Returns 1 if it was there. */
export const FORGET: Script = script(
  'forget',
  `
local gone = redis.pcall('XGROUP', 'DESTROY', KEYS[1], ARGV[1])
redis.call('DEL', KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6])
if type(gone) == 'table' then return 0 end
return gone
`,
)

/** KEYS stream · ARGV group, members that live ... · removes consumers that left nothing behind, never others. */
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
