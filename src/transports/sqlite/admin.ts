import { ConnectionError, ValidationError } from '../../core/errors.ts'
import { isDeadLetterTopic } from '../../core/topic.ts'
import type {
  GroupInfo,
  RetentionInfo,
  StartFrom,
  StoredMessage,
  TopicInfo,
  TransportAdmin,
} from '../../core/transport.ts'
import { explain, toCause } from './errors.ts'
import { StoredReader, toPosition, toSeq } from './mapping.ts'
import type { ResolvedSqliteRetention } from './options.ts'
import type { AdminRequest, StoredColumns } from './protocol.ts'
import { ThreadRefusedError } from './thread.ts'
import type { DatabaseThread } from './thread.ts'

export interface AdminHost {
  readonly path: string
  readonly retention: ResolvedSqliteRetention | undefined
  /** Throws `StateError` unless the transport is open. */
  requireThread(): DatabaseThread
}

/** Administers topics and groups through the database thread. */
export class SqliteAdmin implements TransportAdmin {
  readonly #host: AdminHost

  constructor(host: AdminHost) {
    this.#host = host
  }

  async ensureTopic(topic: string): Promise<void> {
    await this.#ask({ method: 'ensureTopic', topic })
  }

  async topics(): Promise<readonly TopicInfo[]> {
    const infos = (await this.#ask({ method: 'topics' })) as TopicInfo[]
    return infos.map((info) => ({ ...info, retention: retentionOf(info.topic, this.#host.retention) }))
  }

  async groups(topic?: string): Promise<readonly GroupInfo[]> {
    return (await this.#ask({ method: 'groups', topic })) as GroupInfo[]
  }

  async seek(topic: string, group: string, to: StartFrom): Promise<void> {
    await this.#ask({ method: 'seek', topic, group, to: checkStart(to) })
  }

  async read(
    topic: string,
    options: { readonly after?: { readonly [name: string]: string | number } | undefined; readonly limit: number },
  ): Promise<readonly StoredMessage[]> {
    const { limit } = options
    if (!Number.isInteger(limit) || limit < 1) throw new ValidationError('read() takes a limit of at least 1')
    let after = options.after === undefined ? 0 : toSeq(options.after)
    const stored: StoredMessage[] = []
    for (;;) {
      const answer = await this.#ask({ method: 'read', topic, after, limit: limit - stored.length })
      if (answer === undefined) return stored
      const { columns, more } = answer as { columns: StoredColumns; more: boolean }
      const reader = new StoredReader(columns)
      for (let row = 0; row < reader.count; row++) {
        after = reader.number(row, 'seq')
        stored.push({ message: reader.message(row), position: toPosition(after) })
      }
      if (!more || stored.length >= limit) return stored
    }
  }

  async remove(topic: string, positions: readonly Readonly<Record<string, string | number>>[]): Promise<number> {
    return (await this.#ask({ method: 'remove', topic, seqs: positions.map(toSeq) })) as number
  }

  async purge(topic: string): Promise<number> {
    return (await this.#ask({ method: 'purge', topic })) as number
  }

  async deleteGroup(topic: string, group: string): Promise<void> {
    await this.#ask({ method: 'deleteGroup', topic, group })
  }

  async #ask(request: AdminRequest): Promise<unknown> {
    try {
      const answer = await this.#host.requireThread().ask({ kind: 'admin', request })
      return (answer as Extract<typeof answer, { kind: 'done' }>).value
    } catch (error) {
      if (!(error instanceof ThreadRefusedError)) throw error
      const { text, retryable } = explain(error.thread, this.#host.path)
      throw new ConnectionError(`The SQLite transport can't do "${request.method}": ${text}`, {
        retryable,
        cause: toCause(error.thread),
      })
    }
  }
}

/** As this process applies it; another one may have other limits. `maxBytes` counts all topics of the file together. */
function retentionOf(topic: string, limits: ResolvedSqliteRetention | undefined): RetentionInfo {
  if (limits === undefined) return {}
  const { maxAgeMs, maxBytes, deadLetterMaxAgeMs } = limits
  return isDeadLetterTopic(topic) ? { maxAgeMs: deadLetterMaxAgeMs } : { maxAgeMs, maxBytes }
}

/** Throws `ValidationError` for a position of another transport. */
export function checkStart(from: StartFrom): StartFrom {
  return typeof from === 'object' && 'position' in from ? { position: toPosition(toSeq(from.position)) } : from
}
