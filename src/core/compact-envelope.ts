import type { EncodedMessage } from './message.ts'
import { NO_HEADERS } from './message.ts'
import { uuidTime } from './publish/uuid.ts'
import type { OptionsReader } from './util/options-reader.ts'

/**
 * How a transport writes the attributes of a message. Readers understand both forms, so members of a group may differ.
 *
 * - `compact`: leaves out what a reader can derive from the rest, and marks the message with the header `busbar`.
 * - `cloudevents`: every attribute, as the CloudEvents binding of the broker has it, for consumers that are not Busbar.
 */
export type EnvelopeForm = 'compact' | 'cloudevents'

/** Reads the option `envelope` of a transport. @default 'compact' */
export function readEnvelopeForm(reader: OptionsReader): EnvelopeForm {
  return reader.oneOf('envelope', ['compact', 'cloudevents'], 'compact')
}

/**
 * Header that marks a compact envelope. Its value is the version of the form, and a letter for each attribute that is absent
 * although readers would derive it: `1`, `1c` (no correlation id), `1t` (no content type), `1ct`. A message of another program
 * has no such header; what it lacks is unknown, not derived.
 */
export const COMPACT_MARK = 'busbar'

/** The content type that a compact envelope leaves out. */
export const COMPACT_CONTENT_TYPE = 'application/json'

/** What a mark says about attributes that are not written. */
export interface CompactForm {
  /** The content type, unless one is written. */
  readonly contentType: string
  /** The correlation id is the id of the message, unless one is written; false: there is none. */
  readonly correlates: boolean
}

const FORMS = {
  '1': { contentType: COMPACT_CONTENT_TYPE, correlates: true },
  '1c': { contentType: COMPACT_CONTENT_TYPE, correlates: false },
  '1t': { contentType: '', correlates: true },
  '1ct': { contentType: '', correlates: false },
} as const satisfies Readonly<Record<string, CompactForm>>

/**
 * The mark of a message: the value of the header `busbar` in the compact form. Undefined for a message that must be written in
 * full, because it has a header of that name already (it was written in a later version of the form).
 */
export function compactMark(message: EncodedMessage): string | undefined {
  if (message.headers !== NO_HEADERS && COMPACT_MARK in message.headers) return undefined
  if (message.contentType === '') return message.correlationId === undefined ? '1ct' : '1t'
  return message.correlationId === undefined ? '1c' : '1'
}

/** What the mark means; undefined for a message without one, or with one that this version does not know. */
export function compactForm(mark: string | undefined): CompactForm | undefined {
  switch (mark) {
    case undefined:
      return undefined
    case '1':
    case '1c':
    case '1t':
    case '1ct':
      return FORMS[mark]
    default:
      return undefined
  }
}

/** True when readers of a compact envelope derive the time of the message from its id. */
export function isTimeInId(message: EncodedMessage): boolean {
  return message.time === uuidTime(message.id)
}

/** Why a message can't be read whose mark this version does not know; undefined for every other message. */
export function unknownForm(message: EncodedMessage): string | undefined {
  if (message.headers === NO_HEADERS) return undefined
  const version = /^\d{1,3}/.exec(message.headers[COMPACT_MARK] ?? '')?.[0]
  if (version === undefined) return undefined
  return (
    `The message was written with version ${version} of the compact envelope (header "${COMPACT_MARK}"), and this version of ` +
    `Busbar reads version 1: update this service, then redrive the message. Until then, let publishers write \`envelope: 'cloudevents'\``
  )
}
