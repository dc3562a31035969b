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

interface MadeStream extends Made {
  /** The server's time of this answer; not before 2.10. */
  readonly ts?: string
  readonly state?: { readonly messages: number; readonly first_ts: string }
}

/**
 * Identity of a stream, to be kept: mark, time of creation, time of its oldest message and time of this look; times in ms since
 * 1970, 0 if unknown. See `isSameStream`.
 */
export function streamIdentityOf(info: MadeStream): string {
  const { created, ts, state } = info
  const oldest = state !== undefined && state.messages > 0 ? state.first_ts : undefined
  return [markOf(info), ...[created, oldest, ts].map((time) => (time === undefined ? 0 : Date.parse(time)))].join(' ')
}

/** The two times of creation that 2.9 keeps, and the clocks of a cluster, differ by less. */
const SLIGHTLY_MS = 1_000

/**
 * False when the stream `now` has replaced the one `before`: positions mean nothing there. It may have the same description, if it
 * was made from a saved configuration; and an operator may edit the description of a stream.
 *
 * Servers change the time of creation of a stream that stays the same: on disk after an edit and two restarts (nats-server #8470), in
 * a cluster when another program creates it again with the same configuration (#8449) or restores it. Then the stream
 * is older than it says: it has older messages, or was there at an earlier look.
 */
export function isSameStream(before: string, now: string | undefined): boolean {
  if (now === undefined) return false
  const [a, b] = [parsed(before), parsed(now)]
  if (a.created === 0 || b.created === 0) return before === now
  if (a.created === b.created) return true
  if (a.mark !== b.mark) return false
  if (Math.abs(a.created - b.created) < SLIGHTLY_MS) return true
  return b.created + SLIGHTLY_MS <= a.seen || (b.oldest > 0 && b.oldest + SLIGHTLY_MS <= b.created)
}

function parsed(identity: string): { mark: string; created: number; oldest: number; seen: number } {
  const [mark = '', created, oldest, seen] = identity.split(' ')
  return { mark, created: Number(created ?? 0), oldest: Number(oldest ?? 0), seen: Number(seen ?? 0) }
}

/**
 * The id by which the server recognizes the dead letter of a message that was dead-lettered before, but not settled.
 * `consumer`: the identity of its consumer. A group that was moved back has another one, and may have lost the first
 * dead letter to a purge or redrive.
 */
export function deadLetterId({ id, topic }: OutgoingMessage, seq: number, consumer: string): string {
  return `${id}@${topic}#${seq}@${consumer}`
}
