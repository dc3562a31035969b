import type { ResolvedNatsOptions } from '../../options.ts'
import type { StreamConfig, StreamInfo } from './jetstream-types.ts'
import type { StreamConfigs } from './stream-configs.ts'
import { keepsForLess } from './stream-problems.ts'

const MS = 1_000_000
const FIELDS = [
  ['maxAgeMs', 'max_age'],
  ['maxBytes', 'max_bytes'],
  ['maxMessages', 'max_msgs'],
  ['storage', 'storage'],
  ['replicas', 'num_replicas'],
  ['duplicateWindowMs', 'duplicate_window'],
] as const

/** Texts of warnings about a stream of messages that differs from the options, and is used as it is. */
export function driftOf(
  { config }: StreamInfo,
  wanted: StreamConfig,
  { given, partitions }: ResolvedNatsOptions,
  partitionsThere: number,
): string[] {
  const drift = FIELDS.filter(([option, field]) => given.has(option) && config[field] !== wanted[field]).map(
    ([option, field]) => `${option}: ${String(config[field])} instead of ${String(wanted[field])}`,
  )
  if (given.has('partitions') && partitionsThere !== partitions)
    drift.push(`partitions: ${partitionsThere} instead of ${partitions}`)
  return drift.length === 0
    ? []
    : [`stream "${config.name}" differs from the options and is used as it is (durations in ns): ${drift.join('; ')}`]
}

/** Texts of warnings about a stream of other programs: what matters only to those who publish to it. */
export function boundDriftOf({ config }: StreamInfo, wanted: StreamConfig): string[] {
  const texts: string[] = []
  if (config['no_ack'] === true)
    texts.push(
      `stream "${config.name}" confirms no message (no_ack): what you publish to it ends as unknown when its time is up. Change the stream (nats stream edit) before you publish to it`,
    )
  const [window, usual] = [config.duplicate_window / MS, wanted.duplicate_window / MS]
  // A mirror has none.
  if (window > 0 && window < usual)
    texts.push(
      `stream "${config.name}" remembers ids for ${window} ms instead of ${usual} ms (duplicate_window): what is published again after that, because its answer was lost, is stored twice. Set stream.duplicateWindowMs to that if it is meant, or change the stream (nats stream edit)`,
    )
  return texts
}

/**
 * An age set by the user is refused when the stream has a shorter one; here the user relies on the default. Nothing is
 * expected of a stream of other programs: `messages` is undefined then.
 */
export function shortRetentionOf(
  messages: StreamInfo | undefined,
  deadLetters: StreamInfo,
  wanted: StreamConfigs,
  { native }: ResolvedNatsOptions,
): string[] {
  const text = ({ config }: StreamInfo, { max_age: usual }: StreamConfig, option: string): string =>
    `stream "${config.name}" deletes messages after ${config.max_age / MS} ms, handled or not, sooner than the default (${usual === 0 ? 'never' : `${usual / MS} ms`}): set retention.${option} to that if it is meant, or change the stream (nats stream edit)`
  const texts: string[] = []
  if (messages !== undefined && keepsForLess(messages.config, wanted.messages) && !('max_age' in (native.stream ?? {})))
    texts.push(text(messages, wanted.messages, 'maxAgeMs'))
  if (keepsForLess(deadLetters.config, wanted.deadLetters))
    texts.push(text(deadLetters, wanted.deadLetters, 'deadLetterMaxAgeMs'))
  return texts
}

/**
 * All of them are needed to handle messages: one that dies with its node stops the groups, however many copies the
 * messages have.
 */
export function fewerReplicasOf({ config: { name, num_replicas: most } }: StreamInfo, others: StreamInfo[]): string[] {
  const fewer = others.filter(({ config }) => config.num_replicas < most)
  if (fewer.length === 0) return []
  const names = fewer.map(({ config }) => `"${config.name}" (${config.num_replicas})`).join(', ')
  return [
    `streams have fewer replicas than "${name}" (${most}): ${names}. When their node dies, groups stop until it is back: give them ${most} replicas too (nats stream edit)`,
  ]
}
