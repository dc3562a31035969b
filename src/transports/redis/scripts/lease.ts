import { NOW, script } from './script.ts'
import type { Script } from './script.ts'

/**
 * The name of a process ends with the length of its lease: processes may have different ones. `away`: no renewal of any
 * process came through for a while, so it was the server that was away (restarting, busy, or with another clock by now), and
 * no process is dead because of it. A process renews five times per lease, so those whose lease lasts would have renewed
 * twice by then. The member "since" says since when there has been a list.
 */
const LEASES = `${NOW}
local leases, all, heard, expected = {}, nil, 0, 0
local function leaseOf(name)
  local lease = leases[name]
  if not lease then
    lease = tonumber(string.match(name, '%.(%d+)$')) or 0
    leases[name] = lease
  end
  return lease
end
-- As they were before this script changed any.
local function look()
  if all then return all end
  all = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
  for at = 1, #all, 2 do
    local lease, ends = leaseOf(all[at]), tonumber(all[at + 1])
    heard = math.max(heard, ends - lease)
    if ends > now then expected = math.max(expected, lease * 0.4) end
  end
  return all
end
local function away(name)
  look()
  return heard > 0 and now - heard > math.max(leaseOf(name) / 2, expected)
end
local function put(name, ends)
  look()
  redis.call('ZADD', KEYS[1], string.format('%.0f', ends), name)
  return ends
end
`

/**
 * KEYS leases · ARGV name, silentMs, `cluster` in a cluster · renews the lease of a process, and fences those whose lease has ended: a
 * negative score can't be renewed, so a process that sees one may take over what that process owned. Returns 0 when this process
 * was fenced itself, otherwise 1; the time; then the name and the score of each process that was fenced, or that has been
 * silent for `silentMs`. In a cluster nothing says since when there has been a list: a failover may take the list back in time and not
 * the partitions, which are on other servers.
 */
export const RENEW: Script = script(
  'renew',
  `${LEASES}
local me, result, own, listed, hasSince = ARGV[1], { 1, now }, nil, look(), false
for at = 1, #listed, 2 do
  local name, ends = listed[at], tonumber(listed[at + 1])
  if name == me then own = ends
  elseif name == 'since' then hasSince = true -- Not a process.
  elseif ends < 0 and now + ends > 3600000 then redis.call('ZREM', KEYS[1], name)
  else
    local last = now + leaseOf(name)
    if ends > 0 and away(name) then ends = put(name, math.min(ends + now - heard, last))
    elseif ends > 0 and ends <= now then ends = put(name, -now)
    -- The clock of the server was set back.
    elseif ends > last then ends = put(name, last) end
    if ends - leaseOf(name) < now - tonumber(ARGV[2]) then
      result[#result + 1] = name
      result[#result + 1] = string.format('%.0f', ends)
    end
  end
end
if own and own < 0 then result[1] = 0
else put(me, now + leaseOf(me)) end
if ARGV[3] ~= 'cluster' and not hasSince then redis.call('ZADD', KEYS[1], string.format('%.0f', now), 'since') end
return result
`,
  { allowOutOfMemory: true },
)

/**
 * KEYS leases · ARGV names ... · fences those whose lease has ended. Returns for each 1 when it is dead; 2 when its lease has
 * ended, but perhaps only because the server was away, so that it may still be renewed; or 0. One that is not listed has
 * ended, or has been dead for an hour, if there has been a list for longer than its lease: it would have been on it. Otherwise the
 * list was deleted, perhaps in the middle of its work: it is dead when it is not heard of for a lease.
 */
export const FENCE_DEAD: Script = script(
  'fence-dead',
  `${LEASES}
local result, scores = {}, redis.call('ZMSCORE', KEYS[1], 'since', unpack(ARGV))
local since = tonumber(scores[1] or now)
for at, name in ipairs(ARGV) do
  local lease = leaseOf(name)
  local ends = tonumber(scores[at + 1] or put(name, now - since > lease and -now or now + lease))
  local ended = ends > 0 and ends <= now
  if ended and not away(name) then ends = put(name, -now) end
  result[at] = ends < 0 and 1 or ended and 2 or 0
end
return result
`,
  { allowOutOfMemory: true },
)
