import { NEXT_GENERATION, NOW, script, SERVER_ID } from './script.ts'
import type { Script } from './script.ts'

/**
 * Creates or moves a group. Servers since 7 are given the number of entries before its position, including removed
 * ones: from that they know the lag, and we know what was removed unread. `counted` says which process of the server
 * has that number.
 */
export const PLACE: string = `${SERVER_ID}
local function streamInfo(stream)
  local info, found = redis.pcall('XINFO', 'STREAM', stream), {}
  if info.err then return nil end
  for at = 1, #info, 2 do found[info[at]] = info[at + 1] end
  return found
end
local function place(command, stream, meta, group, start, part)
  local info = streamInfo(stream)
  -- The counters came with the same version.
  local counted = redis.REDIS_VERSION_NUM and (start == '0' or start == '$')
  local told = { 'XGROUP', command, stream, group, start, command == 'CREATE' and 'MKSTREAM' or nil }
  if counted then
    local read = 0
    if info then read = start == '$' and info['entries-added'] or info['entries-added'] - info.length end
    told[#told + 1] = 'ENTRIESREAD'
    told[#told + 1] = read
  end
  local done = redis.pcall(unpack(told))
  if done.err then return done end
  if counted then redis.call('HSET', meta, part .. 'counted', serverId()) else redis.call('HDEL', meta, part .. 'counted') end
  -- Where it continues if it is deleted.
  redis.call('HSET', meta, part .. 'floor', start == '$' and (info and info['last-generated-id'] or '0-0') or start)
  return done
end
`

/**
 * Moves a group and drops what it has pending. The generation increases, so that nothing handed out before can be
 * settled. Pending entries are removed with their consumers: however many they are, that is one step of the server for
 * each consumer.
 */
const MOVE_GROUP = `${NOW}${NEXT_GENERATION}${PLACE}
local function moveGroup(stream, meta, later, notes, group, start, part)
  local made = place('CREATE', stream, meta, group, start, part)
  if made.err then
    if not string.find(made.err, 'BUSYGROUP') then return made end
    for _, info in ipairs(redis.call('XINFO', 'CONSUMERS', stream, group)) do
      for at = 1, #info, 2 do
        if info[at] == 'name' then redis.call('XGROUP', 'DELCONSUMER', stream, group, info[at + 1]) end
      end
    end
    local moved = place('SETID', stream, meta, group, start, part)
    if moved.err then return moved end
  end
  redis.call('UNLINK', later, notes)
  -- An owner who is yet to notice that the hash was deleted must not put its generation back.
  if redis.call('HGET', meta, part .. 'owner') == '?' then redis.call('HDEL', meta, part .. 'owner', part .. 'until') end
  return nextGeneration(meta, part)
end
`

/** KEYS stream, meta, later, notes · ARGV group, start, partition · moves a group. */
export const SEEK: Script = script(
  'seek',
  `${MOVE_GROUP}
return moveGroup(KEYS[1], KEYS[2], KEYS[3], KEYS[4], ARGV[1], ARGV[2], ARGV[3] .. ':')
`,
)

/**
 * KEYS stream, delayed · ARGV partition, name of the hash of a group up to the group · removes all messages, and moves the groups behind them: what is removed on purpose is no loss to
 * them, and they continue with what is published next. Returns how many there were, and the names of the groups.
 */
export const PURGE: Script = script(
  'purge',
  `${MOVE_GROUP}
local stream, result = KEYS[1], { redis.call('ZCARD', KEYS[2]) }
redis.call('UNLINK', KEYS[2])
local info = streamInfo(stream)
if not info then return result end
for _, entry in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
  for at = 1, #entry, 2 do
    if entry[at] == 'name' then
      local group = entry[at + 1]
      moveGroup(
        stream, ARGV[2] .. group, stream .. ':later:' .. group, stream .. ':notes:' .. group, group, '$', ARGV[1] .. ':'
      )
      result[#result + 1] = group
    end
  end
end
result[1] = result[1] + info.length
redis.call('XTRIM', stream, 'MAXLEN', 0)
return result
`,
)
