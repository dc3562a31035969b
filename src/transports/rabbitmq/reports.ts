import { ConnectionError } from '../../core/errors.ts'
import type { BusEvents } from '../../core/events.ts'
import type { SubscriptionSpec, TransportHost } from '../../core/transport.ts'
import type { AheadLimit } from './consume/queue-share.ts'
import type { SharedGroupHost } from './consume/shared-group.ts'
import { isLoss, reasonOf } from './errors.ts'
import { bucketOf } from './partitions/key-bucket.ts'
import type { Drift } from './topology/declare-channel.ts'
import { bucketed, routingKeyOf } from './topology/names.ts'

const LESS_AHEAD =
  'Lower prefetch, raise concurrency, limit handlers with timeoutMs, or raise consumer_timeout at the broker and tell it as consumerTimeoutMs'
const CANCELLED = `the broker cancelled it: its queue was deleted or moved, or (from RabbitMQ 4.3 on) a message was unacked for longer than consumer_timeout. ${LESS_AHEAD}`

/** What the transport reports to the bus, and in which words. */
export class Reports {
  readonly #events: BusEvents
  readonly #transport: string

  constructor({ events, name }: TransportHost) {
    this.#events = events
    this.#transport = name
  }

  failed(error: unknown, doing: string): void {
    this.#events.emit('error', { transport: this.#transport, error, doing })
  }

  blocked(reason: string | undefined): void {
    if (reason === undefined) this.#warn('connection-unblocked', 'The broker takes messages again')
    else
      this.#warn(
        'connection-blocked',
        `The broker is blocking publishers: ${reason}. What is published waits until it stops`,
      )
  }

  drift({ queue, argument, wanted }: Drift): void {
    this.#warn(
      'topology-drift',
      `The queue "${queue}" exists with another ${argument} than the options say (${JSON.stringify(wanted ?? 'none')}). It is used as it is: delete it, or set a policy, to change it`,
    )
  }

  /** The queue of a dead-letter topic was deleted. */
  deadLettersLost(topic: string, queue: string): void {
    this.#lost(topic, undefined, undefined, `"${queue}" was deleted, and declared again; the dead letters are lost`)
  }

  /** Queues of a group had been deleted. */
  queuesLost(topic: string, group: string, queues: readonly string[]): void {
    const reason = `${quoted(queues)} had been deleted, and declared again; the messages are lost`
    this.#lost(topic, group, undefined, reason)
  }

  /** Queues of the bus itself had been deleted. */
  sharedLost(queues: readonly string[]): void {
    const what = `${quoted(queues)} had been deleted, and declared again; the messages are lost. A delay may have ended too early meanwhile`
    this.failed(new ConnectionError(what), 'declaring the queues of the bus again')
  }

  /** Without acks, the broker had sent these, and they were never handled. */
  unhandled({ topic, group }: SubscriptionSpec, count: number): void {
    this.#lost(topic, group, count, 'the consumer was closed before it handled what came without acks (noAck)')
  }

  consumerLost(queue: string, error: Error, isCancelled: boolean): void {
    const reason = reasonOf(error)
    const why = isCancelled ? CANCELLED : isConsumerTimeout(error) ? `${reason}. ${LESS_AHEAD}` : reason
    this.#warn('consumer-lost', `The consumer of "${queue}" was ended by the broker, and is started again: ${why}`)
  }

  slow({ group }: SubscriptionSpec, queue: string, ageMs: number, consumerTimeoutMs: number): void {
    this.#warn(
      'slow-consumer',
      `A message of "${queue}" (group "${group}") has been here, unacked, for ${Math.round(ageMs / 1000)} s. RabbitMQ takes everything back from a consumer after ${consumerTimeoutMs / 1000} s (consumerTimeoutMs). Fewer are taken ahead for now. ${LESS_AHEAD}`,
    )
  }

  tooLarge(
    { topic, group, prefetchBytes }: SubscriptionSpec,
    bytes: number,
    limit: AheadLimit | undefined,
    isOnDisk: boolean,
  ): void {
    const remedy =
      limit === undefined
        ? 'Raise prefetchBytes, or use fewer partitions'
        : `Set ${limit.option} of the consumer to ${limit.value}, or raise prefetchBytes`
    this.#warn(
      'large-messages',
      `The messages of "${topic}" that wait here for a handler of group "${group}" take ${bytes} bytes, more than prefetchBytes (${prefetchBytes}): RabbitMQ counts what it sends ahead in messages. ${remedy}. ${isOnDisk ? 'Bodies beyond it wait on disk. ' : ''}Reported once`,
    )
  }

  misplaced({ group }: SubscriptionSpec, topic: string, key: string): void {
    this.#warn(
      'key-without-bucket',
      `A message of "${topic}" with the key "${key}" was published without the bucket of its key, so it came to the first queue of the group "${group}": it is in order with others like it, but not with the messages of its key that Busbar publishes. Its routing key should be "${bucketed(routingKeyOf(topic), bucketOf(key))}". Reported once`,
    )
  }

  /** What a group whose topics share its queues reports. */
  ofSharedGroup({ group, consumerId }: SubscriptionSpec): Omit<SharedGroupHost, 'bind' | 'isOfGroup' | 'ended'> {
    return {
      group,
      full: (queue, topics) =>
        this.#warn(
          'queue-held-up',
          `"${queue}" gives nothing more to this member of the group "${group}": all that it may have of it waits for ${quoted(topics)}, which take${topics.length === 1 ? 's' : ''} no messages now. All topics of the group wait for them (queues: 'per-group')`,
        ),
      elsewhere: (topic) =>
        this.#warn(
          'topic-elsewhere',
          `Messages of "${topic}" arrive at a member of the group "${group}" that does not consume it, although another one does. They wait. With queues: 'per-group', all members of a group must consume the same topics`,
        ),
      nobody: (topic) =>
        this.#warn(
          'topic-without-consumer',
          `No member of the group "${group}" consumes "${topic}", whose messages still come to it: they go to its dead letters. Consume it, or delete it from the group: bus.admin().deleteGroup("${topic}", "${group}")`,
        ),
      deadLettered: ({ message, attempt }, error, deadLetterTopic) =>
        this.#events.emit('deadLetter', {
          transport: this.#transport,
          topic: message.topic,
          group,
          consumerId,
          message,
          attempt,
          error,
          reason: 'rejected',
          deadLetterTopic,
        }),
      failed: (error, doing) => {
        if (!isLoss(error)) this.failed(error, doing)
      },
    }
  }

  #warn(code: string, detail: string): void {
    this.#events.emit('warning', { transport: this.#transport, code, detail })
  }

  #lost(topic: string, group: string | undefined, count: number | undefined, reason: string): void {
    this.#events.emit('loss', { transport: this.#transport, topic, group, count, position: undefined, reason })
  }
}

/** The broker ended a channel on which a message was unacked for too long. */
export function isConsumerTimeout(error: Error): boolean {
  return /delivery acknowledgement on channel \d+ timed out/.test(reasonOf(error))
}

function quoted(queues: readonly string[]): string {
  return queues.map((queue) => `"${queue}"`).join(', ')
}
