import type { SubscriptionSpec } from '../../../../core/transport.ts'
import { countFrom } from '../server/count-messages.ts'
import { isNotFound } from '../../errors.ts'
import { isSameStream, streamIdentityOf } from '../server/identity.ts'
import type { JetStreamApi } from '../server/jetstream-api.ts'
import type { ConsumerInfo, StreamInfo } from '../server/jetstream-types.ts'
import type { PullConsumer, LastDelivery } from './pull-consumer.ts'
import { positionOf } from '../../wire/mapping.ts'
import type { Session } from '../../connection/session.ts'
import type { StateRecords } from '../server/state-records.ts'
import type { Topology } from '../server/topology.ts'

/** The state of a consumer at one time. */
export interface Look {
  readonly identity: string
  /** Identity of the stream. */
  readonly stream: string
  /** Everything up to here was settled. */
  readonly floor: number
  /** Stream sequence of the last delivered message. */
  readonly delivered: number
  /** Total number of deliveries. */
  readonly deliveries: number
  /** Number of messages in the stream that it had not delivered. */
  readonly pending: number
  /** Last sequence of the stream: none of the pending ones is higher. */
  readonly last: number
  /** First sequence of the stream. */
  readonly first?: number
  /** Number of messages that were deleted from its middle. */
  readonly gaps?: number
}

/** The last look at a consumer, and the sequence of its record; 0 when there is none. */
interface LastLook {
  readonly look: Look | undefined
  readonly seq: number
}

const NEVER: LastLook = { look: undefined, seq: 0 }

const STREAM_DELETED = 'their stream was deleted'

export interface LossDetectorParts {
  readonly session: Session
  readonly api: JetStreamApi
  readonly records: StateRecords
  readonly topology: Topology
  readonly spec: SubscriptionSpec
}

/**
 * Notices messages that were deleted from the stream (by its limits or by hand) before the group saw them. The server
 * does not report that; but what was pending at one look, is missing from the stream at the next, and can't have been
 * delivered in between, is certainly lost. Messages that came and went between two looks are not seen, nor are those
 * that were delivered and are waiting to be redelivered. The last look is stored on the server, so that it outlives the
 * members; the member that replaces it reports its losses, so that no other member does.
 */
export class LossDetector {
  readonly #parts: LossDetectorParts
  readonly #last = new Map<PullConsumer, LastLook>()

  constructor(parts: LossDetectorParts) {
    this.#parts = parts
  }

  /** A member joins: compares the last look of all members with the current state. Never rejects. */
  async begin(consumers: readonly PullConsumer[]): Promise<void> {
    const { session, spec } = this.#parts
    if (spec.ephemeral) return
    try {
      await Promise.all(consumers.map((consumer) => this.#read(consumer)))
      await this.look(consumers.filter((consumer) => this.#lastOf(consumer).look !== undefined))
    } catch (error) {
      session.error(error, `looking what became of the messages of "${spec.topic}"`)
    }
  }

  /** Called periodically. Also updates how far the group has settled everything. */
  async look(consumers: readonly PullConsumer[]): Promise<void> {
    const { session, spec } = this.#parts
    try {
      const overtaken = await this.#lookAt(consumers)
      // Once more, for changes since the other member looked.
      if (overtaken.length > 0) await this.#lookAt(overtaken)
    } catch (error) {
      // A missing consumer is noticed and restored by those who read it.
      if (session.ready && !isNotFound(error))
        session.error(error, `looking how far the group "${spec.group}" has come`)
    }
  }

  /** Returns the consumers that another member has looked at since we did. */
  async #lookAt(consumers: readonly PullConsumer[]): Promise<PullConsumer[]> {
    const { api } = this.#parts
    const infos = await Promise.all(consumers.map((consumer) => api.consumerInfo(consumer.stream, consumer.name)))
    // After the consumers, so that it includes everything they count.
    const streams = new Map<string, StreamInfo>()
    for (const { stream } of consumers) if (!streams.has(stream)) streams.set(stream, await api.streamInfo(stream))
    const overtaken: PullConsumer[] = []
    for (const [index, consumer] of consumers.entries())
      if (!(await this.#compare(consumer, infos[index] as ConsumerInfo, streams.get(consumer.stream) as StreamInfo)))
        overtaken.push(consumer)
    return overtaken
  }

  /** False when another member has looked since we did. */
  async #compare(consumer: PullConsumer, info: ConsumerInfo, stream: StreamInfo): Promise<boolean> {
    consumer.floor = info.ack_floor.stream_seq
    const before = this.#lastOf(consumer).look
    const now: Look = {
      identity: consumer.identity,
      stream: streamIdentityOf(stream),
      floor: info.ack_floor.stream_seq,
      delivered: info.delivered.stream_seq,
      deliveries: info.delivered.consumer_seq,
      pending: info.num_pending,
      last: stream.state.last_seq,
      first: stream.state.first_seq,
      gaps: stream.state.num_deleted ?? 0,
    }
    const isNews = now.pending > 0 || (before?.pending ?? 0) > 0 || before?.floor !== now.floor
    if (!isNews) {
      this.#last.set(consumer, { look: now, seq: this.#lastOf(consumer).seq })
      return true
    }
    const isGone = before !== undefined && !isSameStream(before.stream, now.stream)
    const mayLack = before?.identity === now.identity && before.pending > 0 && isThinner(before, now)
    let count = 0
    if (isGone) count = before.pending
    else if (mayLack) count = await this.#countLost(consumer, before, now)
    if (!(await this.#replace(consumer, now))) return false
    if (count > 0)
      this.#report(
        consumer,
        count,
        before,
        isGone ? STREAM_DELETED : 'deleted from the stream before the group had seen them (its limits, or a purge)',
      )
    return true
  }

  #lastOf(consumer: PullConsumer): LastLook {
    return this.#last.get(consumer) ?? NEVER
  }

  async #read(consumer: PullConsumer): Promise<string | undefined> {
    const { records } = this.#parts
    const record = await records.read(records.lookSubject(consumer.name))
    this.#last.set(consumer, record === undefined ? NEVER : { look: parseLook(record.text), seq: record.seq })
    return record?.text
  }

  /** Replaces the last look; false when it was not the one that we knew. */
  async #replace(consumer: PullConsumer, look: Look | undefined): Promise<boolean> {
    const { records, spec } = this.#parts
    const text = JSON.stringify({ ...look, by: spec.consumerId })
    const { seq } = this.#lastOf(consumer)
    const stored = spec.ephemeral ? 0 : await records.write(records.lookSubject(consumer.name), text, seq)
    // Ours may have been stored although the answer was lost.
    if (stored === undefined) return (await this.#read(consumer)) === text
    this.#last.set(consumer, { look, seq: stored })
    return true
  }

  /**
   * Of the messages pending at the look before: those neither in the stream any more nor delivered since, assuming that
   * each delivery was of a different one. Those stored since cancel out: they are counted as delivered or as still there.
   */
  async #countLost(consumer: PullConsumer, before: Look, now: Look): Promise<number> {
    // In this order: what is stored meanwhile must not look lost.
    const newer = await this.#countFrom(consumer, before.last + 1)
    const undelivered = await this.#countFrom(consumer, now.delivered + 1)
    const deliveries = (await this.#isThinning(consumer, now))
      ? (await this.#parts.api.consumerInfo(consumer.stream, consumer.name)).delivered.consumer_seq
      : now.deliveries
    return before.pending + newer - undelivered - (deliveries - before.deliveries)
  }

  /** Whether messages that were delivered while we counted may have been deleted before they were counted. */
  async #isThinning({ stream }: PullConsumer, now: Look): Promise<boolean> {
    const { state } = await this.#parts.api.streamInfo(stream)
    return state.first_seq > now.delivered + 1 || state.first_seq !== now.first || (state.num_deleted ?? 0) !== now.gaps
  }

  /** How many messages of a consumer are in the stream from that sequence on. */
  #countFrom({ stream, plan: { filter } }: PullConsumer, seq: number): Promise<number> {
    return countFrom(this.#parts.api, stream, [filter], seq)
  }

  /** Nothing has happened since the last look, and nothing was waiting then: the server need not be asked. */
  isQuiet(consumer: PullConsumer): boolean {
    const { look } = this.#lastOf(consumer)
    const { buffer, outstanding, pulls, lastDelivery } = consumer
    // What waits is delivered to one of the members whose requests wait.
    if (look === undefined)
      return pulls.asked > 0 && buffer.length === 0 && outstanding.size === 0 && lastDelivery.deliveries === 0
    if (look.pending > 0 || look.floor < look.delivered || consumer.pulls.asked === 0) return false
    return (
      consumer.buffer.length === 0 &&
      consumer.lastDelivery.deliveries <= look.deliveries &&
      look.identity === consumer.identity
    )
  }

  /**
   * The stream was deleted, with what the group had not read, and with `held` messages that were here and unsettled.
   * `last`: the last delivery from it. May be called again for the same stream. Never rejects.
   */
  async streamGone(consumer: PullConsumer, held: number, last: LastDelivery): Promise<void> {
    let gone: LastLook | undefined = this.#lastOf(consumer)
    try {
      gone = await this.#takeAway(consumer, last)
    } catch (error) {
      // Better twice than never.
      this.#parts.session.error(error, `looking what became of the messages of "${this.#parts.spec.topic}"`)
    }
    const before = gone?.look
    let unread = 0
    if (gone !== undefined) unread = last.deliveries > (before?.deliveries ?? 0) ? last.unread : (before?.pending ?? 0)
    if (held + unread > 0) this.#report(consumer, held + unread, before, STREAM_DELETED)
  }

  /** The last look of any member at the deleted stream; undefined when another member has reported its loss. */
  async #takeAway(consumer: PullConsumer, { unread }: LastDelivery): Promise<LastLook | undefined> {
    const ours = this.#lastOf(consumer)
    for (;;) {
      await this.#read(consumer)
      const stored = this.#lastOf(consumer)
      // All records may have been lost with the messages.
      const last = stored === NEVER ? ours : stored
      if (last === NEVER ? unread === 0 : last.look === undefined || this.#isCurrent(consumer, last.look))
        return undefined
      if (await this.#replace(consumer, undefined)) return last
    }
  }

  #isCurrent({ stream }: PullConsumer, look: Look): boolean {
    return isSameStream(look.stream, this.#parts.topology.identityOf(stream))
  }

  #report(consumer: PullConsumer, count: number, before: Look | undefined, reason: string): void {
    const { name, events } = this.#parts.session.host
    const { topic, group } = this.#parts.spec
    const position = before === undefined ? undefined : positionOf(consumer.stream, before.delivered + 1)
    events.emit('loss', { transport: name, topic, group, count, position, reason })
  }
}

/** Whether messages may have been deleted that were pending at the look before. */
function isThinner(before: Look, now: Look): boolean {
  const { first = 0, gaps = 0 } = now
  if (first > before.delivered + 1 || gaps !== before.gaps) return true
  // As many gaps as before, but others: the beginning has reached some of them.
  return gaps > 0 && first !== before.first
}

/** The consumer's state when a member last looked. */
export async function readLook(records: StateRecords, consumer: string): Promise<Look | undefined> {
  const record = await records.read(records.lookSubject(consumer))
  return record === undefined ? undefined : parseLook(record.text)
}

function parseLook(text: string): Look | undefined {
  try {
    const look = JSON.parse(text) as Look
    return Number.isInteger(look.delivered) && Number.isInteger(look.pending) ? look : undefined
  } catch {
    return undefined
  }
}
