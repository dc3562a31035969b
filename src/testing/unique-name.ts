import { randomBytes } from 'node:crypto'

/**
 * A name that no other test, process or machine uses: valid as one token of a topic and as a group. Tests that share a
 * broker need no cleanup between them when all their topics and groups have such names.
 */
export function uniqueName(label = 't'): string {
  return `${label}-${Date.now().toString(36)}${randomBytes(5).toString('hex')}`
}

/** A topic name of two tokens, the first of them unique: `t-m3x….orders`. */
export function uniqueTopic(label = 'topic'): string {
  return `${uniqueName()}.${label}`
}
