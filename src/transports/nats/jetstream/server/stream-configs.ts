import type { ResolvedNatsOptions } from '../../options.ts'
import type { Subjects } from '../../wire/subjects.ts'
import { marked } from './identity.ts'
import type { StreamConfig } from './jetstream-types.ts'

const MS = 1_000_000
/** A lease is renewed within seconds. */
const LEASES_MAX_AGE_MS = 86_400_000
/** A group has a consumer, and each of its members another one; newer servers limit a stream to 1,000 unless it sets its own limit. */
const MAX_CONSUMERS = 100_000
/** The server remembers message ids for this long in streams whose messages have none. */
const SHORT_WINDOW_MS = 1_000

/** The configurations with which the streams of a bus are created. */
export interface StreamConfigs {
  readonly messages: StreamConfig
  readonly deadLetters: StreamConfig
  readonly state: StreamConfig
  readonly leases: StreamConfig
}

type Own = Pick<StreamConfig, 'name' | 'subjects' | 'max_age'> & Partial<StreamConfig>

/** The configuration of a stream, with what all of ours have in common. */
export function streamConfig({ stream }: ResolvedNatsOptions, own: Own): StreamConfig {
  return {
    retention: 'limits',
    storage: stream.storage,
    num_replicas: stream.replicas,
    allow_direct: true,
    max_consumers: MAX_CONSUMERS,
    discard: 'old',
    max_bytes: -1,
    max_msgs: -1,
    duplicate_window: SHORT_WINDOW_MS * MS,
    ...own,
  }
}

/**
 * `isWide`: the messages' stream stores the whole prefix, because a consumer's filter can't span several subjects of a stream
 * before 2.10.
 */
export function streamConfigs(options: ResolvedNatsOptions, subjects: Subjects, isWide: boolean): StreamConfigs {
  const { stream, retention, native } = options
  const { name } = stream
  const windowOf = (maxAgeMs: number | undefined): number =>
    Math.min(stream.duplicateWindowMs, maxAgeMs ?? Infinity) * MS
  return {
    messages: streamConfig(options, {
      name,
      description: marked('Messages of Busbar'),
      subjects: isWide ? [`${subjects.prefix}.>`] : subjects.stored,
      max_age: (retention.maxAgeMs ?? 0) * MS,
      max_bytes: retention.maxBytes ?? -1,
      max_msgs: retention.maxMessages ?? -1,
      duplicate_window: windowOf(retention.maxAgeMs),
      ...(retention.topics.length > 0 ? { allow_msg_ttl: true } : {}),
      ...native.stream,
    }),
    deadLetters: streamConfig(options, {
      name: `${name}_dlq`,
      description: marked('Dead letters of Busbar'),
      subjects: [subjects.deadLetters],
      // No publisher waits for them; when there is no room they must be refused, not lost.
      discard: 'new',
      max_age: (retention.deadLetterMaxAgeMs ?? 0) * MS,
      duplicate_window: windowOf(retention.deadLetterMaxAgeMs),
    }),
    state: streamConfig(options, {
      name: `${name}_state`,
      description: marked('Positions of groups, attempts and marks of Busbar: the last record of each subject counts'),
      subjects: [`${subjects.state}.>`],
      // Where a group stands must be known however long it has been away.
      max_age: 0,
      max_msgs_per_subject: 1,
    }),
    leases: streamConfig(options, {
      name: `${name}_leases`,
      description: marked('Leases of Busbar: the last record of each subject counts'),
      subjects: [`${subjects.leases}.>`],
      storage: 'memory',
      max_age: LEASES_MAX_AGE_MS * MS,
      max_msgs_per_subject: 1,
    }),
  }
}
