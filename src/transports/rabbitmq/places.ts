import { sleep } from '../../core/clock.ts'
import type { Clock } from '../../core/clock.ts'
import { ConnectionError } from '../../core/errors.ts'
import { closeQuietly } from './amqp.ts'
import { REPLY, replyCode } from './errors.ts'
import type { Session } from './link.ts'

/** How many queues there may be, each on another node, where a classic queue is to be had at any time. */
export const PLACES = 3
/** More than a broker that is well takes for an answer about one queue. */
const ANSWER_MS = 500
/** More than it takes for what was asked together to be answered together. */
const GRACE_MS = 100

/** The node of a classic queue does not answer, while the broker does. */
class NodeAwayError extends ConnectionError {}

/** A classic queue is on one node of a cluster, and can neither be used nor made again while that one is down. */
export function isNodeAway(error: unknown): boolean {
  if (error instanceof NodeAwayError) return true
  return replyCode(error) === REPLY.notFound && error instanceof Error && /down or inaccessible/.test(error.message)
}

/**
 * Resolves or rejects with what `asking` does, which is a question about a classic queue. RabbitMQ 3 says at once that the node of the
 * queue is down; since 4.2 it waits a minute for the node to come back. So this rejects when the broker leaves this question open and
 * answers a later one. The channel that asked is then of no use until the minute is over.
 */
export async function unlessNodeAway<Result>(clock: Clock, session: Session, asking: Promise<Result>): Promise<Result> {
  const done = new AbortController()
  const away = answeredLater(clock, session, done.signal)
  try {
    return await Promise.race([asking, away])
  } finally {
    done.abort()
    // One of the two has been heard, and the other one is of no interest.
    asking.catch(() => undefined)
    away.catch(() => undefined)
  }
}

async function answeredLater(clock: Clock, session: Session, signal: AbortSignal): Promise<never> {
  await sleep(clock, ANSWER_MS, signal)
  // A broker that stands still, or is too busy, does not answer this either.
  await closeQuietly(await session.channel())
  await sleep(clock, GRACE_MS, signal)
  throw new NodeAwayError('The node of the queue does not answer')
}

/** Makes a queue at the first place whose node is up; resolves with that place. */
export async function makeAtPlace(
  clock: Clock,
  session: Session,
  make: (place: number) => Promise<void>,
): Promise<number> {
  for (let place = 0; ; place++) {
    try {
      await unlessNodeAway(clock, session, make(place))
      return place
    } catch (error) {
      if (!isNodeAway(error) || place === PLACES - 1) throw error
    }
  }
}
