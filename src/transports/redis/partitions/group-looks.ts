import type { ScriptRunner } from '../connection/script-runner.ts'
import { LOOK_AT_GROUPS } from '../scripts/look.ts'

/** Maximum number of keys in one script, which blocks the server while it runs. */
const KEYS_AT_ONCE = 1_000

/** What to look at of a group on a topic. */
export interface GroupToLookAt {
  /** Undefined in a cluster, where it may be on another server. */
  readonly assignment: string | undefined
  /** Keys that exist as long as nothing was deleted; each once. */
  readonly hashes: readonly string[]
  /** Keys that exist only while something waits for its time, or once there was a copy for the group. */
  readonly beside: readonly string[]
}

export interface GroupLook {
  /** Of the assignment; empty when there is none, and undefined when it was not looked at. */
  readonly revision: string | undefined
  /** All hashes exist, and nothing beside them. */
  readonly isAlone: boolean
}

interface Asked {
  readonly group: GroupToLookAt
  readonly resolve: (look: GroupLook) => void
  readonly reject: (error: unknown) => void
}

/** Looks at all groups that are asked for in one turn with as few scripts as possible. */
export class GroupLooks {
  readonly #scripts: ScriptRunner
  readonly #cluster: boolean
  #asked: Asked[] = []

  constructor(scripts: ScriptRunner, { cluster }: { readonly cluster: boolean }) {
    this.#scripts = scripts
    this.#cluster = cluster
  }

  look(group: GroupToLookAt): Promise<GroupLook> {
    return new Promise((resolve, reject) => {
      if (this.#asked.length === 0) setImmediate(() => this.#ask())
      this.#asked.push({ group, resolve, reject })
    })
  }

  #ask(): void {
    const asked = this.#asked
    this.#asked = []
    let some: Asked[] = []
    let size = 0
    for (const one of asked) {
      const keys = 1 + one.group.hashes.length + one.group.beside.length
      if (some.length > 0 && (this.#cluster || size + keys > KEYS_AT_ONCE)) {
        this.#run(some)
        some = []
        size = 0
      }
      some.push(one)
      size += keys
    }
    if (some.length > 0) this.#run(some)
  }

  #run(asked: readonly Asked[]): void {
    const keys: string[] = []
    const args: string[] = []
    for (const { group } of asked) {
      const { assignment, hashes, beside } = group
      if (assignment !== undefined) keys.push(assignment)
      keys.push(...hashes, ...beside)
      args.push(assignment === undefined ? '0' : '1', String(hashes.length), String(beside.length))
    }
    this.#scripts.run(LOOK_AT_GROUPS, keys, args).then(
      (reply) => {
        for (const [at, [revision, isAlone]] of (reply as readonly (readonly [Buffer, number])[]).entries()) {
          const { group, resolve } = asked[at] as Asked
          resolve({ revision: group.assignment === undefined ? undefined : String(revision), isAlone: isAlone === 1 })
        }
      },
      (error: unknown) => {
        for (const { reject } of asked) reject(error)
      },
    )
  }
}
