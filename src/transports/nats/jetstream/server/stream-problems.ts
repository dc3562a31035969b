import type { Problem } from '../../../../core/errors.ts'
import type { StreamConfig } from './jetstream-types.ts'

export type StreamRole = 'messages' | 'bound' | 'deadLetters' | 'state' | 'leases'

export interface StreamWish {
  readonly role: StreamRole
  /** The configuration that it would be created with. */
  readonly wanted: StreamConfig
  /** True when the user set that age rather than leaving the default. */
  readonly isAgeGiven: boolean
  /** Number of consumers that one group needs. */
  readonly consumers: number
  /** Fields that the user set directly, at his own risk. */
  readonly native: Readonly<Record<string, unknown>>
}

const isOn = (value: unknown): boolean => value === true
const isLimit = (value: unknown): value is number => typeof value === 'number' && value > 0

/** True when a stream deletes messages earlier than wanted. */
export function keepsForLess(config: StreamConfig, wanted: StreamConfig): boolean {
  return isLimit(config.max_age) && (wanted.max_age === 0 || config.max_age < wanted.max_age)
}

/** What matters of a stream that belongs to other programs. */
const BOUND = new Set(['retention', 'max_consumers'])

/** Problems of an existing stream: settings under which messages or records would vanish silently. */
export function streamProblems(config: StreamConfig, wish: StreamWish): Problem[] {
  const { role, wanted, isAgeGiven, consumers, native } = wish
  const isBound = role === 'bound'
  const isMessages = role === 'messages' || isBound
  const isRecords = role === 'state' || role === 'leases'
  const isLimited = isLimit(config.max_bytes) || isLimit(config.max_msgs)
  const rules: readonly (readonly [field: string, isWrong: boolean, why: string])[] = [
    [
      'retention',
      config.retention !== 'limits',
      config.retention === 'workqueue'
        ? 'only one group could read a message'
        : 'a message is deleted as soon as the groups of that moment have acked it, so a new group gets none',
    ],
    [
      'max_msgs_per_subject',
      !isRecords && isLimit(config.max_msgs_per_subject),
      'a new message deletes an older one of its topic, handled or not',
    ],
    ['no_ack', isOn(config['no_ack']), 'the server confirms no message'],
    ['sealed', isOn(config['sealed']), 'it takes no messages'],
    ['mirror', config['mirror'] !== undefined && config['mirror'] !== null, 'a mirror takes no messages'],
    ['deny_delete', isOn(config['deny_delete']), 'messages can not be removed, which redriving dead letters needs'],
    ['deny_purge', isOn(config['deny_purge']), 'notes and topics can not be purged'],
    [
      'max_consumers',
      isMessages && isLimit(config.max_consumers) && config.max_consumers < consumers,
      `a group needs ${consumers} consumers`,
    ],
    [
      'max_age',
      isAgeGiven && keepsForLess(config, wanted),
      `messages would be deleted before the time that was asked for (${wanted.max_age === 0 ? 'no limit' : `${wanted.max_age} ns`})`,
    ],
    [
      'max_age',
      role === 'state' && isLimit(config.max_age),
      'a group that has nothing to do for so long would forget where it was',
    ],
    [
      'discard',
      role === 'deadLetters' && config.discard === 'old' && isLimited,
      'dead letters would be deleted when it is full; "new" refuses them instead',
    ],
    [
      'discard',
      role === 'state' && config.discard === 'old' && isLimited,
      'positions of groups would be deleted when it is full; with "new" they are kept in memory until there is room',
    ],
    ['discard', role === 'leases' && config.discard === 'new' && isLimited, 'leases would be refused when it is full'],
    [
      'allow_msg_ttl',
      role === 'messages' && isOn(wanted['allow_msg_ttl']) && !isOn(config['allow_msg_ttl']),
      'messages with an age of their own (retention.topics) are refused',
    ],
    ['allow_direct', isRecords && config.allow_direct !== true, 'records are read by direct get'],
  ]
  return rules
    .filter(([field, isWrong]) => isWrong && !(isMessages && field in native) && (!isBound || BOUND.has(field)))
    .map(([field, , why]) => ({
      path: field,
      message: `is ${JSON.stringify(config[field])} in the stream "${config.name}", which is there already: ${why}. Change it there (nats stream edit), or choose another stream.${isBound ? 'bind' : 'name'}.`,
    }))
}
