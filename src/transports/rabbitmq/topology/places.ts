import { sleep } from '../../../core/clock.ts'
import type { Clock } from '../../../core/clock.ts'
import { ConnectionError } from '../../../core/errors.ts'
import { closeQuietly } from '../connection/amqp.ts'
import { REPLY, replyCode } from '../errors.ts'
import type { LiveConnection } from '../connection/live-connection.ts'

/** Number of queues, each on another node, so that a classic queue is available at any time. */
export const PLACES = 3
/** More time than a healthy broker needs to answer about one queue. */
const ANSWER_MS = 500
/** More time than lies between the answers to two questions asked together. */
const GRACE_MS = 100

/** The node of a classic queue does not answer, while the broker does. */
class NodeAwayError extends ConnectionError {}

/** A classic queue is on one node of a cluster, and can neither be used nor created again while that node is down. */
export function isNodeAway(error: unknown): boolean {
  if (error instanceof NodeAwayError) return true
  return replyCode(error) === REPLY.notFound && error instanceof Error && /down or inaccessible/.test(error.message)
}

/**
 * Settles like `asking`, which is a question about a classic queue. RabbitMQ 3 says at once that the node of the queue
 * is down; since 4.2 it waits a minute for the node to come back. So this rejects when the broker leaves this question
 * open and answers a later one. The channel that asked is then useless until the minute is over.
 */
export async function unlessNodeAway<Result>(
  clock: Clock,
  live: LiveConnection,
  asking: Promise<Result>,
): Promise<Result> {
  const done = new AbortController()
  const away = answeredLater(clock, live, done.signal)
  try {
    return await Promise.race([asking, away])
  } finally {
    done.abort()
    // One of the two was answered, and the other is ignored.
    asking.catch(() => undefined)
    away.catch(() => undefined)
  }
}

async function answeredLater(clock: Clock, live: LiveConnection, signal: AbortSignal): Promise<never> {
  await sleep(clock, ANSWER_MS, signal)
  // A broker that is stuck or too busy does not answer this either.
  await closeQuietly(await live.channel())
  await sleep(clock, GRACE_MS, signal)
  throw new NodeAwayError('The node of the queue does not answer')
}

/** Creates a queue at the first place whose node is up; resolves with that place. */
export async function makeAtPlace(
  clock: Clock,
  live: LiveConnection,
  make: (place: number) => Promise<void>,
): Promise<number> {
  for (let place = 0; ; place++) {
    try {
      await unlessNodeAway(clock, live, make(place))
      return place
    } catch (error) {
      if (!isNodeAway(error) || place === PLACES - 1) throw error
    }
  }
}
