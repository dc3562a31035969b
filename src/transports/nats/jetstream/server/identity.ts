import { randomBytes } from 'node:crypto'
import type { OutgoingMessage } from '../../../../core/message.ts'

/** Adds a unique mark to the description of something being created on the server. */
export function marked(description: string): string {
  return `${description.slice(0, 200)} #${randomBytes(6).toString('hex')}`
}

interface Made {
  readonly created: string
  readonly config: { readonly description?: string }
}

function markOf({ config }: Made): string {
  return /#[0-9a-f]{12}$/.exec(config.description ?? '')?.[0] ?? ''
}

/**
 * Distinguishes a consumer from another one of the same name that replaced it. The creation time alone would do, but 2.9
 * keeps two that differ slightly: one in memory, and one on disk for after a restart.
 */
export function identityOf(info: Made): string {
  return markOf(info) || info.created.slice(0, 19)
}

/** Identity of a stream: see `isSameStream`. */
export function streamIdentityOf(info: Made): string {
  return `${markOf(info)} ${info.created}`
}

/** The two times of creation that 2.9 keeps differ by less. */
const SLIGHTLY_MS = 1_000

/**
 * False when one stream has replaced the other: positions mean nothing there. It may have the same description, if it was
 * made from a saved configuration; and an operator may edit the description of a stream.
 */
export function isSameStream(a: string, b: string | undefined): boolean {
  if (a === b || b === undefined) return a === b
  const [[markA, createdA = ''], [markB, createdB = '']] = [a.split(' '), b.split(' ')]
  if (createdA === createdB) return createdA !== ''
  return markA === markB && Math.abs(Date.parse(createdA) - Date.parse(createdB)) < SLIGHTLY_MS
}

/**
 * The id by which the server recognizes the dead letter of a message that was dead-lettered before, but not settled.
 * `consumer`: the identity of its consumer. A group that was moved back has another one, and may have lost the first
 * dead letter to a purge or redrive.
 */
export function deadLetterId({ id, topic }: OutgoingMessage, seq: number, consumer: string): string {
  return `${id}@${topic}#${seq}@${consumer}`
}
