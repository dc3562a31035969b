import { createHash } from 'node:crypto'
import { replyCode } from '../errors.ts'
import type { Arg } from './given-client.ts'
import { ACK, ACK_HELD, DEAD_LETTER, EXTEND, RELEASE_ENTRIES, LEAVE } from '../scripts/settle.ts'
import { NOTE_EPHEMERAL, UNWANTED_EPHEMERAL } from '../scripts/ephemeral.ts'
import { CLAIM, CLAIM_DUE, PENDING, RECOVER_DELETED } from '../scripts/claim.ts'
import { ACQUIRE, BEAT, FORGET, INSPECT, JOIN, RELEASE, RESTORE, SWEEP_CONSUMERS } from '../scripts/group.ts'
import { FENCE_DEAD, RENEW } from '../scripts/lease.ts'
import {
  COUNT_AFTER,
  GROUP_INFO,
  GROUP_NAMES,
  LOOK,
  LOOK_AT_GROUPS,
  MAY_BE_READY,
  PENDING_ELSEWHERE,
  REMOVE,
  STREAM_STATES,
  TOPIC_INFO,
} from '../scripts/look.ts'
import { PURGE, SEEK } from '../scripts/move.ts'
import { NOTE_ATTEMPTS, NOTE_LOST } from '../scripts/notes.ts'
import { DELAY, MOVE, PUBLISH_SIDE } from '../scripts/publish.ts'
import { TRIM } from '../scripts/retention.ts'
import type { Script } from '../scripts/script.ts'
import type { Commands } from './commands.ts'
import { explainWrongType } from './wrong-type.ts'

/** Scripts that are always needed: loaded on each connection before it is used. */
const ALL: readonly Script[] = [
  [DELAY, PUBLISH_SIDE, MOVE],
  [RENEW, FENCE_DEAD, JOIN, BEAT, ACQUIRE, RELEASE, RESTORE, INSPECT, SEEK, PURGE, FORGET, SWEEP_CONSUMERS],
  [PENDING, CLAIM, CLAIM_DUE, RECOVER_DELETED],
  [ACK, ACK_HELD, RELEASE_ENTRIES, LEAVE, DEAD_LETTER, NOTE_ATTEMPTS, NOTE_LOST, EXTEND],
  [TRIM, TOPIC_INFO, GROUP_NAMES, GROUP_INFO, MAY_BE_READY, COUNT_AFTER, REMOVE],
  [LOOK, LOOK_AT_GROUPS, PENDING_ELSEWHERE, STREAM_STATES],
  [NOTE_EPHEMERAL, UNWANTED_EPHEMERAL],
].flat()

interface Loaded {
  readonly source: string
  readonly sha: string
}

/** From this version on a script can declare that it may run when memory is full. */
const FLAGS_SINCE = 7

/** Runs scripts by their hash, and sends their source only to a server that does not know them. */
export class ScriptRunner {
  #commands: Commands | undefined
  #loaded = new Map<Script, Loaded>()
  /** While a script is sent in full, later calls wait: they must not overtake it. */
  #reloading: Promise<unknown> | undefined

  use(commands: Commands): void {
    this.#commands = commands
  }

  /** Loads all scripts into a server. `version`: its major version, which decides what scripts may declare. */
  async load(version: number, run: (args: readonly Arg[]) => Promise<unknown>): Promise<void> {
    this.#loaded = new Map(ALL.map((script) => [script, prepare(script, version)]))
    try {
      await Promise.all([...this.#loaded.values()].map(({ source }) => run(['SCRIPT', 'LOAD', source])))
    } catch (error) {
      // Some hosting providers forbid SCRIPT. Then each script is sent in full once, when it is needed.
      const code = replyCode(error)
      if (code !== 'ERR' && code !== 'NOPERM') throw error
    }
  }

  run(script: Script, keys: readonly string[], args: readonly Arg[], signal?: AbortSignal): Promise<unknown> {
    if (this.#reloading !== undefined)
      return this.#reloading.then(
        () => this.run(script, keys, args, signal),
        () => this.run(script, keys, args, signal),
      )
    const { sha } = this.#find(script)
    return this.#call('EVALSHA', sha, keys, args, signal).catch((error: unknown) => {
      if (replyCode(error) === 'WRONGTYPE') return this.#wrongType(keys, error)
      if (replyCode(error) !== 'NOSCRIPT') throw error
      return this.#inFull(script, keys, args, signal)
    })
  }

  async #wrongType(keys: readonly string[], error: unknown): Promise<never> {
    throw await explainWrongType(this.#commands as Commands, keys, error)
  }

  /** The server's script cache was emptied, or a node of the cluster is new. NOSCRIPT means that nothing was done. */
  #inFull(
    script: Script,
    keys: readonly string[],
    args: readonly Arg[],
    signal: AbortSignal | undefined,
  ): Promise<unknown> {
    const running = (this.#reloading ?? Promise.resolve())
      .catch(() => {})
      .then(() => this.#call('EVAL', this.#find(script).source, keys, args, signal))
    this.#reloading = running
    const done = (): void => {
      if (this.#reloading === running) this.#reloading = undefined
    }
    running.then(done, done)
    return running
  }

  #call(
    command: 'EVAL' | 'EVALSHA',
    what: string,
    keys: readonly string[],
    args: readonly Arg[],
    signal: AbortSignal | undefined,
  ): Promise<unknown> {
    const all: Arg[] = [command, what, String(keys.length)]
    for (const key of keys) all.push(key)
    for (const arg of args) all.push(arg)
    return (this.#commands as Commands).call(keys[0] as string, all, signal)
  }

  #find(script: Script): Loaded {
    let loaded = this.#loaded.get(script)
    if (loaded === undefined) {
      loaded = prepare(script, 0)
      this.#loaded.set(script, loaded)
    }
    return loaded
  }
}

function prepare(script: Script, version: number): Loaded {
  const flags = script.allowOutOfMemory && version >= FLAGS_SINCE ? '#!lua flags=allow-oom\n' : ''
  const source = flags + script.lua
  return { source, sha: createHash('sha1').update(source).digest('hex') }
}
