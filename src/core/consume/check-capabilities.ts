import type { ResolvedConsumeOptions } from './consume-options.ts'
import { UnsupportedError } from '../errors.ts'
import { isPattern } from '../topic.ts'
import type { StartFrom, Transport } from '../transport.ts'

/**
 * Throws `UnsupportedError`, with a remedy, when the transport can't do what a consumer needs, so that it does not fail at the
 * first message. Returns where a new group starts.
 */
export function checkCapabilities(
  { admin, capabilities, system }: Transport,
  topic: string,
  options: ResolvedConsumeOptions,
): StartFrom {
  const refuse = (what: string): never => {
    throw new UnsupportedError(`${system} can't be used for the consumer of "${topic}": ${what}`)
  }
  if (!capabilities.groups && !options.broadcast)
    refuse('it has no consumer groups; use broadcast: true, or another transport')
  if (!capabilities.patterns && isPattern(topic)) refuse('it has no wildcards; consume each topic by its name')
  if (capabilities.ordering === 'none' && options.order !== 'none')
    refuse(`it keeps no order; say order: 'none' if you need none`)
  if (options.retry.mode === 'delayed' && (!capabilities.redelivery || capabilities.delay === 'none'))
    refuse(`it can't deliver again later; use retry.mode 'inline'`)
  if (options.guarantee === 'exactly-once' && !capabilities.publishOnAck)
    refuse(
      `it can't store what a handler publishes in one step with the ack, as guarantee: 'exactly-once' needs; use publishOnAck: true, and consumers of the outputs that tolerate duplicates, or a transport with the capability "publishOnAck"`,
    )
  if (options.onDeadLetter === 'park-key' && admin === undefined)
    refuse(`it can't read dead letters; use onDeadLetter: 'continue'`)
  const { from } = options
  if (typeof from === 'object' && 'timeMs' in from && !capabilities.replay.includes('time'))
    refuse('it has no replay by time')
  if (typeof from === 'object' && 'position' in from && !capabilities.replay.includes('position'))
    refuse('it has no replay by position')
  if (from === 'earliest' && capabilities.replay.length === 0) refuse(`it has no replay; use from: 'latest'`)
  return from ?? (capabilities.replay.length === 0 || options.broadcast ? 'latest' : 'earliest')
}
