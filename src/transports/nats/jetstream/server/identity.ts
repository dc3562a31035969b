import { randomBytes } from 'node:crypto'
import type { OutgoingMessage } from '../../../../core/message.ts'

/** Adds a unique mark to the description of something being created on the server. */
export function marked(description: string): string {
  return `${description.slice(0, 200)} #${randomBytes(6).toString('hex')}`
}

/**
 * Distinguishes a stream or consumer from another one of the same name that replaced it. The creation time alone would
 * do, but 2.9 keeps two that differ slightly: one in memory, and one on disk for after a restart.
 */
export function identityOf(info: {
  readonly created: string
  readonly config: { readonly description?: string }
}): string {
  return /#[0-9a-f]{12}$/.exec(info.config.description ?? '')?.[0] ?? info.created.slice(0, 19)
}

/**
 * The id by which the server recognizes the dead letter of a message that was dead-lettered before, but not settled.
 * `consumer`: the identity of its consumer. A group that was moved back has another one, and may have lost the first
 * dead letter to a purge or redrive.
 */
export function deadLetterId({ id, topic }: OutgoingMessage, seq: number, consumer: string): string {
  return `${id}@${topic}#${seq}@${consumer}`
}
