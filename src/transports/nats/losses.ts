import { randomUUID } from 'node:crypto'
import type { SubscriptionSpec } from '../../core/transport.ts'
import { isNotFound } from './errors.ts'
import { identityOf } from './identity.ts'
import type { JetStreamApi } from './jetstream-api.ts'
import type { ConsumerInfo, StreamInfo } from './jetstream-types.ts'
import type { Lane } from './lane.ts'
import { positionOf } from './mapping.ts'
import type { Session } from './session.ts'
import type { StateRecords } from './state-records.ts'

const MS = 1_000_000
/** The server forgets the counting consumer by itself, should we not come to delete it. */
const INACTIVE_MS = 5_000

/** How a consumer stood at some moment. */
export interface Look {
  readonly identity: string
  /** What the stream is known by. */
  readonly stream: string
  /** Everything up to here was settled. */
  readonly floor: number
  /** Sequence in the stream of the last message that was delivered. */
  readonly delivered: number
  /** Number of deliveries ever made. */
  readonly deliveries: number
  /** Messages of the stream that it had not delivered. */
  readonly pending: number
  /** Of the stream: none of the pending ones has a higher sequence. */
  readonly last: number
}

export interface LossesParts {
  readonly session: Session
  readonly api: JetStreamApi
  readonly records: StateRecords
  readonly spec: SubscriptionSpec
}

/**
 * Notices messages that were deleted from the stream (by its limits, or by somebody) before the group had seen them. The
 * server does not say so; but what was pending at one look, is not in the stream at the next one, and can't have been
 * delivered in between, is lost for certain. What came and went between two looks is not seen. The last look is kept on the
 * server, so that it outlives the members.
 */
export class Losses {
  readonly #parts: LossesParts
  readonly #looks = new Map<Lane, Look>()

  constructor(parts: LossesParts) {
    this.#parts = parts
  }

  /** A member joins: what the last look of all members saw is compared with what there is now. Never rejects. */
  async begin(lanes: readonly Lane[]): Promise<void> {
    const { session, records, spec } = this.#parts
    if (spec.ephemeral) return
    try {
      await Promise.all(
        lanes.map(async (lane) => {
          const look = await readLook(records, lane.consumer)
          if (look !== undefined) this.#looks.set(lane, look)
        }),
      )
      await this.look(lanes.filter((lane) => this.#looks.has(lane)))
    } catch (error) {
      session.error(error, `looking what became of the messages of "${spec.topic}"`)
    }
  }

  /** Called now and then. Notes on the way how far the group has settled everything. */
  async look(lanes: readonly Lane[]): Promise<void> {
    const { api, session, spec } = this.#parts
    try {
      const infos = await Promise.all(lanes.map((lane) => api.consumerInfo(lane.stream, lane.consumer)))
      // After the consumers, so that nothing that they count is missing in it.
      const streams = new Map<string, StreamInfo>()
      for (const { stream } of lanes) if (!streams.has(stream)) streams.set(stream, await api.streamInfo(stream))
      for (const [index, lane] of lanes.entries())
        await this.#compare(lane, infos[index] as ConsumerInfo, streams.get(lane.stream) as StreamInfo)
    } catch (error) {
      // A consumer that is gone is found out by its lane, and put right.
      if (session.ready && !isNotFound(error))
        session.error(error, `looking how far the group "${spec.group}" has come`)
    }
  }

  async #compare(lane: Lane, info: ConsumerInfo, stream: StreamInfo): Promise<void> {
    lane.floor = info.ack_floor.stream_seq
    const before = this.#looks.get(lane)
    const now: Look = {
      identity: lane.identity,
      stream: identityOf(stream),
      floor: info.ack_floor.stream_seq,
      delivered: info.delivered.stream_seq,
      deliveries: info.delivered.consumer_seq,
      pending: info.num_pending,
      last: stream.state.last_seq,
    }
    this.#looks.set(lane, now)
    if (before?.identity === now.identity && before.pending > 0 && stream.state.first_seq > before.delivered + 1) {
      const count = await this.#countLost(lane, before)
      if (count > 0)
        this.#tell(
          lane,
          count,
          before,
          'deleted from the stream before the group had seen them (its limits, or a purge)',
        )
    }
    const { records, spec } = this.#parts
    const isNews = now.pending > 0 || (before?.pending ?? 0) > 0 || before?.floor !== now.floor
    if (isNews && !spec.ephemeral) await records.write(records.lookSubject(lane.consumer), JSON.stringify(now))
  }

  /** Of what was pending at that look: neither in the stream any more, nor delivered since, if each delivery was of another one. */
  async #countLost(lane: Lane, before: Look): Promise<number> {
    const from = await this.#countFrom(lane, before.delivered + 1)
    const beyond = await this.#countFrom(lane, before.last + 1)
    const info = await this.#parts.api.consumerInfo(lane.stream, lane.consumer)
    return before.pending - (from - beyond) - (info.delivered.consumer_seq - before.deliveries)
  }

  /** How many messages of a lane are in the stream from that sequence on. */
  async #countFrom({ stream, plan: { filter } }: Lane, seq: number): Promise<number> {
    const { api } = this.#parts
    const name = `busbar-count-${randomUUID()}`
    const info = await api.createConsumer(stream, name, {
      name,
      description: 'Busbar: counting',
      deliver_policy: 'by_start_sequence',
      opt_start_seq: seq,
      ack_policy: 'none',
      filter_subject: filter,
      replay_policy: 'instant',
      inactive_threshold: INACTIVE_MS * MS,
      mem_storage: true,
      num_replicas: 1,
    })
    await api.deleteConsumer(stream, name)
    return info.num_pending
  }

  /** The stream was deleted, with what the lane had not read, and with so many that were here and not settled. */
  streamGone(lane: Lane, held: number): void {
    const before = this.#looks.get(lane)
    this.#looks.delete(lane)
    const count = held + (before?.pending ?? 0)
    if (count > 0) this.#tell(lane, count, before, 'their stream was deleted')
  }

  #tell(lane: Lane, count: number, before: Look | undefined, reason: string): void {
    const { name, events } = this.#parts.session.host
    const { topic, group } = this.#parts.spec
    const position = before === undefined ? undefined : positionOf(lane.stream, before.delivered + 1)
    events.emit('loss', { transport: name, topic, group, count, position, reason })
  }
}

/** How the consumer stood when a member last looked. */
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
