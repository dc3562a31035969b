import { NOW, script } from './script.ts'
import type { Script } from './script.ts'

/**
 * KEYS leases · ARGV name, leaseMs, silentMs · renews the lease of a process, and fences those whose lease has ended: a
 * negative score can't be renewed, so a process that sees one may take over what that process owned. Returns 0 when this process
 * was fenced itself, otherwise 1; the time; then the name and the score of each process that was fenced, or that has been
 * silent for `silentMs`.
 */
export const RENEW: Script = script(
  'renew',
  `${NOW}
local me, lease, found, newest, own = ARGV[1], tonumber(ARGV[2]), {}, 0, nil
local all = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
for at = 1, #all, 2 do
  local ends = tonumber(all[at + 1])
  if all[at] == me then own = ends end
  newest = math.max(newest, ends)
end
local away = now - (newest - lease)
-- No renewal came through for a while: it was the server that was away, so no process is dead because of it.
local extra = (newest > 0 and away > lease / 2) and away or 0
for at = 1, #all, 2 do
  local name, ends = all[at], tonumber(all[at + 1])
  if ends > 0 and name ~= me then
    if extra > 0 then
      ends = ends + extra
      redis.call('ZADD', KEYS[1], string.format('%.0f', ends), name)
    elseif ends <= now then
      ends = -now
      redis.call('ZADD', KEYS[1], string.format('%.0f', ends), name)
    end
  end
  if ends < 0 and now + ends > 3600000 then redis.call('ZREM', KEYS[1], name)
  elseif name ~= me and ends - lease < now - tonumber(ARGV[3]) then
    found[#found + 1] = name
    found[#found + 1] = string.format('%.0f', ends)
  end
end
if own and own < 0 then return { 0, now, unpack(found) } end
redis.call('ZADD', KEYS[1], string.format('%.0f', now + lease), me)
return { 1, now, unpack(found) }
`,
  { allowOutOfMemory: true },
)

/** KEYS leases · ARGV names ... · fences those whose lease has ended. Returns for each 1 when it is dead, or 0. */
export const FENCE_DEAD: Script = script(
  'fence-dead',
  `${NOW}
local result = {}
for at, name in ipairs(ARGV) do
  local ends = tonumber(redis.call('ZSCORE', KEYS[1], name) or '-1')
  if ends > 0 and ends <= now then
    ends = -now
    redis.call('ZADD', KEYS[1], string.format('%.0f', ends), name)
  end
  result[at] = ends < 0 and 1 or 0
end
return result
`,
  { allowOutOfMemory: true },
)
