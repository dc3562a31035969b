import { ConfigurationError } from '../../../../core/errors.ts'
import type { StartFrom, SubscriptionSpec } from '../../../../core/transport.ts'
import { ERR, isNotFound, JetStreamError } from '../../errors.ts'
import { identityOf, isSameStream, marked } from '../server/identity.ts'
import type { JetStreamApi } from '../server/jetstream-api.ts'
import type { ConsumerConfig, ConsumerInfo } from '../server/jetstream-types.ts'
import type { PullConsumer } from './pull-consumer.ts'
import { readLook } from './loss-detector.ts'
import type { LossDetector } from './loss-detector.ts'
import { sequenceOf } from '../../wire/mapping.ts'
import type { Session } from '../../connection/session.ts'
import type { StateRecord, StateRecords } from '../server/state-records.ts'
import type { Topology } from '../server/topology.ts'

const MS = 1_000_000
/** Maximum number of requests that wait at one consumer: several from each member. */
const MAX_WAITING = 512
/** After this time the server deletes the consumer of a broadcast whose process died. */
const INACTIVE_MS = 300_000

export interface DurableConsumersParts {
  readonly session: Session
  readonly api: JetStreamApi
  readonly records: StateRecords
  readonly topology: Topology
  readonly losses: LossDetector
  readonly spec: SubscriptionSpec
  readonly id: string
  readonly ackWaitMs: number
  readonly metadata: Readonly<Record<string, string>> | undefined
  /** Where the group began. */
  readonly start: () => StartFrom
}

/** The result of checking a consumer. */
export interface Checked {
  readonly isOther: boolean
  readonly streamGone: boolean
  readonly info: ConsumerInfo | undefined
}

/** Where a moved group begins. */
export interface Mark {
  readonly at: StartFrom
}

/** The consumers of one subscription on the server: creates them, and creates them again at the right position. */
export class DurableConsumers {
  readonly #parts: DurableConsumersParts
  /** Sequence of the last move of the group that each consumer has followed. */
  readonly #followed = new Map<PullConsumer, number>()

  constructor(parts: DurableConsumersParts) {
    this.#parts = parts
  }

  /** Creates or joins the group. `isNew`: it has just been made. */
  async prepare(consumers: readonly PullConsumer[], isNew: boolean): Promise<void> {
    const { spec } = this.#parts
    if (!spec.ephemeral && !isNew) {
      const move = await this.#lastMove()
      for (const consumer of consumers) this.#followed.set(consumer, move?.seq ?? 0)
    }
    const made: PullConsumer[] = []
    // All must finish before anything is taken back.
    const results = await Promise.allSettled(
      consumers.map(async (consumer) => {
        const info = isNew ? await this.#make(consumer, made) : await this.#find(consumer, made)
        consumer.adopt(info, identityOf(info), this.#parts.topology.identityOf(consumer.stream))
        this.#reportDrift(consumer, info)
      }),
    )
    const failed = results.find((result) => result.status === 'rejected')
    if (failed === undefined) return
    // Half a group would keep counting against the limits of the stream.
    await this.remove(made).catch(() => undefined)
    throw failed.reason
  }

  async #make(consumer: PullConsumer, made: PullConsumer[]): Promise<ConsumerInfo> {
    const info = await this.#create(consumer, this.#parts.start())
    made.push(consumer)
    return info
  }

  async #find(consumer: PullConsumer, made: PullConsumer[]): Promise<ConsumerInfo> {
    const { api, spec } = this.#parts
    try {
      return await api.consumerInfo(consumer.stream, consumer.name)
    } catch (error) {
      if (!isNotFound(error)) throw error
    }
    const from = spec.ephemeral ? undefined : await this.#noted(consumer)
    const info = await this.#create(consumer, from ?? this.#parts.start())
    if (from === undefined) made.push(consumer)
    else
      this.#parts.session.warning(
        'nats-consumer-recreated',
        `consumer "${consumer.name}" was deleted on the server while no member of the group was running; it was made again where the group was, or a little before`,
      )
    return info
  }

  /** The noted position of a group that lost its consumer while no member was running. */
  async #noted(consumer: PullConsumer): Promise<StartFrom | undefined> {
    const { records, topology } = this.#parts
    const look = await readLook(records, consumer.name)
    return look === undefined || !isSameStream(look.stream, topology.identityOf(consumer.stream))
      ? undefined
      : { position: { seq: look.floor + 1 } }
  }

  async #ensure(consumer: PullConsumer, from: StartFrom): Promise<ConsumerInfo> {
    try {
      return await this.#parts.api.consumerInfo(consumer.stream, consumer.name)
    } catch (error) {
      if (!isNotFound(error)) throw error
    }
    return this.#create(consumer, from)
  }

  async #create(consumer: PullConsumer, from: StartFrom): Promise<ConsumerInfo> {
    const { api, spec } = this.#parts
    try {
      return await api.createConsumer(consumer.stream, consumer.name, this.#config(consumer, from))
    } catch (error) {
      // Another member was faster, with its own start position.
      if (!(error instanceof JetStreamError) || error.code !== 400) throw error
      return await api.consumerInfo(consumer.stream, consumer.name).catch(() => {
        throw new ConfigurationError(`The consumer of "${spec.topic}"`, [
          {
            path: error.errCode === ERR.maxConsumers ? 'max_consumers' : 'native.consumer',
            message: `the stream "${consumer.stream}" refuses the consumer "${consumer.name}" (${error.message}): a group needs one for each member, and one for messages without a key; change the limits of the stream or of the account`,
          },
        ])
      })
    }
  }

  #config(consumer: PullConsumer, from: StartFrom): ConsumerConfig {
    const { spec, session, ackWaitMs } = this.#parts
    return consumerConfig({
      name: consumer.name,
      filter: consumer.plan.filter,
      from,
      description: `Busbar: ${spec.topic} for ${spec.group}`,
      ackWaitMs,
      maxDeliver: mayGiveUp(consumer.plan.dead, spec.ephemeral) ? session.options.maxDeliver : undefined,
      maxAckPending: session.options.maxAckPending,
      ephemeral: spec.ephemeral,
      metadata: this.#parts.metadata,
      native: nativeOf(session.options, spec.native),
    })
  }

  #reportDrift(consumer: PullConsumer, { name, config }: ConsumerInfo): void {
    const { session, ackWaitMs, spec } = this.#parts
    const maxDeliver = (mayGiveUp(consumer.plan.dead, spec.ephemeral) ? session.options.maxDeliver : undefined) ?? -1
    const drift: string[] = []
    if (config.ack_wait !== undefined && config.ack_wait !== ackWaitMs * MS)
      drift.push(`leaseMs: ${config.ack_wait / MS} instead of ${ackWaitMs}`)
    if (config.max_deliver !== undefined && config.max_deliver !== maxDeliver)
      drift.push(`maxDeliver: ${config.max_deliver} instead of ${maxDeliver}`)
    if (!spec.ephemeral && (config.inactive_threshold ?? 0) > 0)
      session.warning(
        'nats-consumer-expires',
        `the server deletes consumer "${name}" when no member has been there for ${(config.inactive_threshold ?? 0) / MS} ms (consumer_limits.inactive_threshold of its stream); the group then continues from where it was last noted`,
      )
    if (drift.length > 0)
      session.warning(
        'nats-consumer-drift',
        `consumer "${name}" differs from the options and is used as it is (-1: no limit): ${drift.join('; ')}`,
      )
  }

  /**
   * Checks whether the consumer of that name on the server is the one that we know; a missing one is created again.
   * `isOther`: it is another one, or missing; everything outstanding is void. `streamGone`: because its stream was
   * deleted; every check reports that until there is another one.
   */
  async check(consumer: PullConsumer): Promise<Checked> {
    const { api, topology, session } = this.#parts
    let info: ConsumerInfo
    let move: StateRecord | undefined
    try {
      info = await api.consumerInfo(consumer.stream, consumer.name)
    } catch (error) {
      if (!isNotFound(error)) throw error
      await topology.ensure()
      const last = await this.#lastMove()
      const isMoved =
        last !== undefined && last.seq !== (this.#followed.get(consumer) ?? 0) && !this.#isStreamGone(consumer)
      info = await this.#ensure(consumer, isMoved ? (JSON.parse(last.text) as Mark).at : this.#startAgain(consumer))
      move = last
      if (!isMoved)
        session.warning(
          'nats-consumer-recreated',
          `consumer "${consumer.name}" was deleted on the server and created again`,
        )
    }
    if (identityOf(info) === consumer.identity) return { isOther: false, streamGone: false, info }
    // Another member may have made the stream again.
    await topology.ensure()
    move ??= await this.#lastMove()
    const streamGone = this.#isStreamGone(consumer)
    if (move !== undefined) this.#followed.set(consumer, move.seq)
    consumer.adopt(info, identityOf(info), topology.identityOf(consumer.stream))
    return { isOther: true, streamGone, info }
  }

  #isStreamGone({ stream, streamIdentity }: PullConsumer): boolean {
    return streamIdentity === undefined || !isSameStream(streamIdentity, this.#parts.topology.identityOf(stream))
  }

  /** The last move of the group, as `admin.seek` notes it. */
  async #lastMove(): Promise<StateRecord | undefined> {
    const { records, id, spec } = this.#parts
    return spec.ephemeral ? undefined : await records.read(records.moveSubject(id))
  }

  /** Where a consumer that was deleted during use continues. */
  #startAgain(consumer: PullConsumer): StartFrom {
    const { spec } = this.#parts
    if (this.#isStreamGone(consumer)) return 'earliest'
    // Better twice than never.
    return consumer.floor === undefined ? spec.from : { position: { seq: consumer.floor + 1 } }
  }

  async remove(consumers: readonly PullConsumer[]): Promise<void> {
    await Promise.all(consumers.map((consumer) => this.#parts.api.deleteConsumer(consumer.stream, consumer.name)))
  }
}

/**
 * Whether the server may give up on a message: only if it can be dead-lettered, which a dead letter can't, and if its
 * group is permanent.
 */
export function mayGiveUp(dead: boolean, ephemeral: boolean): boolean {
  return !dead && !ephemeral
}

export interface ConsumerSettings {
  readonly name: string
  readonly filter: string
  readonly from: StartFrom
  readonly description: string
  readonly ackWaitMs: number
  readonly maxDeliver: number | undefined
  readonly maxAckPending: number | undefined
  readonly ephemeral: boolean
  readonly metadata: Readonly<Record<string, string>> | undefined
  readonly native: Readonly<Record<string, unknown>> | undefined
}

export function consumerConfig(settings: ConsumerSettings): ConsumerConfig {
  const { name, ephemeral } = settings
  return {
    ...(ephemeral
      ? { name, mem_storage: true, num_replicas: 1, inactive_threshold: INACTIVE_MS * MS }
      : { name, durable_name: name }),
    description: marked(settings.description),
    ...startOf(settings.from),
    ack_policy: 'explicit',
    ack_wait: settings.ackWaitMs * MS,
    max_deliver: settings.maxDeliver ?? -1,
    filter_subject: settings.filter,
    replay_policy: 'instant',
    max_ack_pending: settings.maxAckPending ?? -1,
    max_waiting: MAX_WAITING,
    ...settings.native,
    ...(settings.metadata === undefined
      ? {}
      : { metadata: { ...settings.metadata, ...(settings.native?.['metadata'] as object | undefined) } }),
  }
}

/** What an operator sees of a consumer besides its name; servers before 2.10 have no metadata. */
export function metadataOf(session: Session, topic: string, group: string): Record<string, string> | undefined {
  return session.isOlderThan(2, 10) ? undefined : { 'busbar.topic': topic, 'busbar.group': group }
}

function startOf(from: StartFrom): Pick<ConsumerConfig, 'deliver_policy' | 'opt_start_seq' | 'opt_start_time'> {
  if (from === 'earliest') return { deliver_policy: 'all' }
  if (from === 'latest') return { deliver_policy: 'new' }
  if ('timeMs' in from)
    return { deliver_policy: 'by_start_time', opt_start_time: new Date(Math.max(0, from.timeMs)).toISOString() }
  const seq = sequenceOf(from.position)
  return seq === undefined || seq === 0
    ? { deliver_policy: 'all' }
    : { deliver_policy: 'by_start_sequence', opt_start_seq: seq }
}

/** Native settings of a consumer: those of the transport, and those of this one (`native: { consumer: { … } }`). */
export function nativeOf(
  { native }: { readonly native: { readonly consumer?: Readonly<Record<string, unknown>> | undefined } },
  own: unknown,
): Readonly<Record<string, unknown>> {
  return {
    ...native.consumer,
    ...(own as { readonly consumer?: Readonly<Record<string, unknown>> } | undefined)?.consumer,
  }
}
