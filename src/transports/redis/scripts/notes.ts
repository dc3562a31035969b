import { FENCE, script } from './script.ts'
import type { Script } from './script.ts'

/**
 * The note of an entry: `used running notBefore member`, all numbers except the last. An entry without a used, running
 * or waiting attempt has no note.
 */
export const NOTE = `
local function note(notes, id, used, running, notBefore, member)
  if used == '0' and running == '0' and notBefore == '0' then redis.call('HDEL', notes, id)
  else redis.call('HSET', notes, id, used .. ' ' .. running .. ' ' .. notBefore .. ' ' .. member) end
end
local function noteOf(notes, id)
  local text = redis.call('HGET', notes, id)
  if not text then return nil end
  local used, running, notBefore, member = string.match(text, '^(%d+) (%d) (%d+) (.*)$')
  return used and { used = tonumber(used), running = running, notBefore = notBefore, member = member }
end
`

/**
 * KEYS (stream, meta, notes) for each stream · ARGV group, member, then for each stream: generation, count, then for
 * each entry: id, used, 1 when it is running, time before which it must not start. Returns for each stream how many
 * were stored, or -1 when the partition is no longer the member's; ends with NOGROUP when data of the group was deleted.
 */
export const NOTE_ATTEMPTS: Script = script(
  'note-attempts',
  `${FENCE}${NOTE}
local group, member, at, result = ARGV[1], ARGV[2], 3, {}
for key = 1, #KEYS, 3 do
  local count, stored = tonumber(ARGV[at + 1]), 0
  local fenced = fence(KEYS[key + 1], ARGV[at])
  if fenced then
    if string.find(fenced.err, '^NOGROUP') then return fenced end
    stored = -1
  end
  for entry = at + 2, at + 1 + count * 4, 4 do
    if stored >= 0 then
      local pending = redis.call('XPENDING', KEYS[key], group, ARGV[entry], ARGV[entry], 1)[1]
      if pending and pending[2] == member then
        note(KEYS[key + 2], ARGV[entry], ARGV[entry + 1], ARGV[entry + 2], ARGV[entry + 3], member)
        stored = stored + 1
      end
    end
  end
  result[#result + 1] = stored
  at = at + 2 + count * 4
end
return result
`,
  { allowOutOfMemory: true },
)

/**
 * KEYS notes · ARGV member, then for each entry: id, used · for deliveries that the member lost while a handler ran:
 * the process lives, so the attempt does not count. Only where no other member has written a note since.
 */
export const NOTE_LOST: Script = script(
  'note-lost',
  `${NOTE}
for at = 2, #ARGV, 2 do
  local known = noteOf(KEYS[1], ARGV[at])
  if known and known.member == ARGV[1] and known.running == '1' then
    note(KEYS[1], ARGV[at], ARGV[at + 1], '0', known.notBefore, ARGV[1])
  end
end
return 1
`,
  { allowOutOfMemory: true },
)
