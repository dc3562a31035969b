import { randomUUID } from 'node:crypto'
import type { Timer } from '../../../../core/clock.ts'
import { TimeoutError } from '../../../../core/errors.ts'
import { isDeadLetterTopic } from '../../../../core/topic.ts'
import type { StoredMessage } from '../../../../core/transport.ts'
import { AckReply } from '../consume/ack-reply.ts'
import type { Incoming } from '../../connection/incoming.ts'
import { positionOf } from '../../wire/mapping.ts'
import type { SubscriptionParts } from '../subscription-parts.ts'

const NANOS = 1_000_000
/** After this time the server deletes the reader by itself, if we can't. */
const INACTIVE_MS = 10_000
const ANSWER_TIMEOUT_MS = 10_000
/** One request must not ask for the whole stream. */
const MAX_PAGE = 10_000

/** Reads stored messages of a topic through a temporary consumer that acks nothing. */
export async function readRange(
  parts: SubscriptionParts,
  topic: string,
  after: number,
  limit: number,
): Promise<StoredMessage[]> {
  const { api, subjects, topology } = parts
  const stream = topology.streamOf(isDeadLetterTopic(topic))
  const name = `busbar-read-${randomUUID()}`
  await api.createConsumer(stream, name, {
    name,
    description: 'Busbar: reading a range',
    deliver_policy: 'by_start_sequence',
    opt_start_seq: after + 1,
    ack_policy: 'none',
    filter_subject: subjects.allOf(topic),
    replay_policy: 'instant',
    inactive_threshold: INACTIVE_MS * NANOS,
    mem_storage: true,
    num_replicas: 1,
  })
  try {
    return await collect(parts, stream, name, Math.min(limit, MAX_PAGE))
  } finally {
    await api.deleteConsumer(stream, name)
  }
}

function collect(parts: SubscriptionParts, stream: string, name: string, limit: number): Promise<StoredMessage[]> {
  const { session, api, subjects, mapping } = parts
  const found: StoredMessage[] = []
  const reply = new AckReply()
  return new Promise((resolve, reject) => {
    const inbox = session.inbox()
    let timer: Timer | undefined
    const end = (finish: () => void): void => {
      timer?.cancel()
      if (!subscription.isClosed()) subscription.unsubscribe()
      finish()
    }
    const receive = (native: Incoming): void => {
      if (!reply.read(native.reply)) {
        // Nothing more there.
        end(() => resolve(found))
        return
      }
      const { seq, time } = reply
      const { message } = mapping.decode(native, subjects.topicOf(native.subject), {
        id: () => `${stream}-${seq}`,
        time: () => time,
      })
      found.push({ message, position: positionOf(stream, seq) })
      if (found.length >= limit) end(() => resolve(found))
    }
    const subscription = session.subscribe(inbox, receive, (error) => end(() => reject(error)))
    timer = session.host.clock.setTimer(ANSWER_TIMEOUT_MS, () =>
      end(() => reject(new TimeoutError(`Reading stream "${stream}" got no answer for ${ANSWER_TIMEOUT_MS} ms`))),
    )
    const request = `{"batch":${limit},"no_wait":true}`
    session.writeBuffer.publish(api.nextSubject(stream, name), inbox, Buffer.from(request, 'latin1'))
  })
}
