/** A Lua script: one atomic step on the server. All of its keys share a hash tag. */
export interface Script {
  readonly name: string
  readonly lua: string
  /** It must run even when the server is out of memory: it keeps leases, or hands messages back. */
  readonly allowOutOfMemory: boolean
}

export function script(name: string, lua: string, options: { readonly allowOutOfMemory?: boolean } = {}): Script {
  return Object.freeze({ name, lua: lua.trim(), allowOutOfMemory: options.allowOutOfMemory ?? false })
}

/** Milliseconds since 1970 by the clock of the server: the one clock that all members share. */
export const NOW = `
local function clock()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end
local now = clock()
`

/**
 * Identifies the process of the server for the time that it is the primary: changes with each start and each failover,
 * also with one back to a server that never stopped. Empty where the user may not ask.
 */
export const SERVER_ID = `
local function serverId()
  local function found(section, pattern)
    local info = redis.pcall('INFO', section)
    return type(info) == 'string' and string.match(info, pattern) or ''
  end
  local process = found('server', 'run_id:(%x+)')
  return process == '' and '' or process .. found('replication', 'master_replid:(%x+)')
end
`

/**
 * Ends a script if, since its caller got its generation, the caller lost the partition or the group was moved; and also if
 * the hash was deleted, which its owner puts back (NOGROUP), even if others know by now that it is missing (owner `?`). A generation
 * names its partition, because one hash has the fields of all partitions: `3:1700000000000`.
 */
export const FENCE = `
local function partOf(generation) return string.match(generation, '^(%d+:)(.*)$') end
local function isCurrent(meta, generation)
  local part, number = partOf(generation)
  return part and redis.call('HGET', meta, part .. 'generation') == number
end
local function fence(meta, generation)
  if isCurrent(meta, generation) then return nil end
  local part = partOf(generation)
  local found = part and redis.call('HMGET', meta, part .. 'generation', part .. 'owner')
  if found and (not found[1] or found[2] == '?') then
    return redis.error_reply('NOGROUP the data of the group was deleted')
  end
  return redis.error_reply('FENCED the group was moved, or the partition has another owner')
end
`

/**
 * The next generation of a partition. It follows the time, so that none ever comes again: not after the group was deleted,
 * and not after a failover to a replica, or a restored dump, that lacks the last ones. Needs `NOW`.
 */
export const NEXT_GENERATION = `
local function nextGeneration(meta, part)
  local last = tonumber(redis.call('HGET', meta, part .. 'generation') or '0')
  local generation = string.format('%.0f', math.max(last + 1, now))
  redis.call('HSET', meta, part .. 'generation', generation)
  return generation
end
`

/** Compares stream ids, which are two numbers. */
export const BEFORE = `
local function parts(id)
  local ms, seq = string.match(id, '^(%d+)-?(%d*)$')
  return tonumber(ms), tonumber(seq) or 0
end
local function before(a, b)
  local ams, aseq = parts(a)
  local bms, bseq = parts(b)
  return ams < bms or (ams == bms and aseq < bseq)
end
`
