import { ConfigurationError, UnsupportedError } from '../../core/errors.ts'
import { ERR, isNoResponders, isNotFound, JetStreamError, toBusbarError } from './errors.ts'
import { identityOf, marked } from './identity.ts'
import type { JetStreamApi } from './jetstream-api.ts'
import type { StreamConfig, StreamInfo } from './jetstream-types.ts'
import type { Session, SessionPart } from './session.ts'
import { writeRecord } from './state-records.ts'
import type { Subjects } from './subjects.ts'

const MS = 1_000_000
/** Leases, notes and marks that nobody has touched for so long belong to groups that are gone. */
const STATE_MAX_AGE_MS = 90 * 86_400_000
/** A group has a consumer for each partition; newer servers allow a stream 1,000 unless it says otherwise itself. */
const MAX_CONSUMERS = 100_000
const OLDEST_SERVER = [2, 9] as const

/**
 * The three streams of a bus: messages, dead letters, and what Busbar notes for itself. Made when they are missing; never
 * changed afterwards, because others may rely on them: what differs from the options is told instead.
 */
export class Topology implements SessionPart {
  readonly name: string
  readonly deadLetters: string
  readonly state: string
  readonly #session: Session
  readonly #api: JetStreamApi
  readonly #subjects: Subjects
  /** What each stream is known by: something else means that it is another stream. */
  readonly #identities = new Map<string, string>()
  #ensuring: Promise<void> | undefined
  /** How long the stream keeps a message, in ms; undefined for ever. */
  maxAgeMs: number | undefined

  constructor(session: Session, api: JetStreamApi, subjects: Subjects) {
    this.#session = session
    this.#api = api
    this.#subjects = subjects
    const { name, maxAgeMs } = session.options.stream
    this.name = name
    this.deadLetters = `${name}_dlq`
    this.state = `${name}_state`
    this.maxAgeMs = maxAgeMs
  }

  /** Which stream holds a topic. */
  streamOf(dead: boolean): string {
    return dead ? this.deadLetters : this.name
  }

  /** Changes when a stream was lost and made again: positions and deliveries of before mean nothing any more. */
  identityOf(stream: string): string | undefined {
    return this.#identities.get(stream)
  }

  async open(): Promise<void> {
    await this.#requireJetStream()
    await this.ensure()
  }

  async #requireJetStream(): Promise<void> {
    const { serverVersion, serverName } = this.#session
    if (this.#session.isOlderThan(...OLDEST_SERVER))
      throw new UnsupportedError(
        `The NATS server at ${serverName} has version ${serverVersion}; JetStream needs ${OLDEST_SERVER.join('.')} or later here. Upgrade it, or use nats({ jetstream: false }).`,
      )
    try {
      await this.#api.accountInfo()
    } catch (error) {
      const off =
        isNoResponders(error) ||
        (error instanceof JetStreamError &&
          (error.errCode === ERR.notEnabled || error.errCode === ERR.notEnabledForAccount))
      if (!off) throw toBusbarError(error, 'Looking for JetStream')
      throw new UnsupportedError(
        `The NATS server at ${serverName} has no JetStream${isNoResponders(error) ? '' : ' for this account'}: start it with -js (or enable it for the account), or use nats({ jetstream: false }) for core NATS, at most once.`,
      )
    }
  }

  /** Makes what is missing. Calls at the same time share one run. */
  ensure(): Promise<void> {
    this.#ensuring ??= this.#ensureAll().finally(() => {
      this.#ensuring = undefined
    })
    return this.#ensuring
  }

  async #ensureAll(): Promise<void> {
    const main = await this.#ensureStream(this.#mainConfig())
    if (!main.config.subjects.includes(this.#subjects.messages))
      throw new ConfigurationError('nats', [
        {
          path: 'stream.name',
          message: `there is a stream "${this.name}" already, for other subjects (${main.config.subjects.join(', ')}): choose another name`,
        },
      ])
    this.maxAgeMs = main.config.max_age === 0 ? undefined : main.config.max_age / MS
    await this.#ensureStream(this.#deadLetterConfig())
    await this.#ensureStream(this.#stateConfig())
    this.#subjects.partitions = await this.#agreeOnPartitions()
    this.#tellDrift(main)
  }

  /** The first one to come decides, for all and for good: where a key goes must be the same for everybody. */
  async #agreeOnPartitions(): Promise<number> {
    const subject = `${this.#subjects.state}.partitions`
    const wanted = this.#session.options.stream.partitions
    for (;;) {
      const record = await this.#api.lastRecord(this.state, subject)
      const known = Number(record?.text)
      if (Number.isInteger(known) && known > 0) return known
      const seq = await writeRecord(this.#session, subject, String(wanted), record?.seq ?? 0)
      if (seq !== undefined) return wanted
    }
  }

  /** Makes one more stream when it is missing, with what all of ours have in common. */
  async ensureStream(
    config: Pick<StreamConfig, 'name' | 'subjects' | 'retention' | 'max_age'> & { readonly description: string },
  ): Promise<void> {
    await this.#infoOrCreate({
      ...this.#common(),
      discard: 'old',
      max_bytes: -1,
      max_msgs: -1,
      duplicate_window: 1_000 * MS,
      ...config,
    })
  }

  async #ensureStream(config: StreamConfig): Promise<StreamInfo> {
    const info = await this.#infoOrCreate(config)
    const before = this.#identities.get(config.name)
    this.#identities.set(config.name, identityOf(info))
    if (before !== undefined && before !== identityOf(info))
      this.#session.warning(
        'nats-stream-recreated',
        `stream "${config.name}" was deleted and made again: what it held is gone`,
      )
    return info
  }

  async #infoOrCreate(config: StreamConfig): Promise<StreamInfo> {
    try {
      return await this.#api.streamInfo(config.name)
    } catch (error) {
      if (!isNotFound(error)) throw error
    }
    try {
      return await this.#api.createStream(config)
    } catch (error) {
      // Somebody else was faster, with options of his own.
      if (error instanceof JetStreamError && error.errCode === ERR.streamNameInUse)
        return this.#api.streamInfo(config.name)
      throw error
    }
  }

  #common(): Pick<StreamConfig, 'retention' | 'storage' | 'num_replicas' | 'allow_direct' | 'max_consumers'> {
    const { storage, replicas } = this.#session.options.stream
    return {
      retention: 'limits',
      storage,
      num_replicas: replicas,
      allow_direct: true,
      max_consumers: MAX_CONSUMERS,
    }
  }

  #mainConfig(): StreamConfig {
    const { maxAgeMs, maxBytes, maxMessages, duplicateWindowMs } = this.#session.options.stream
    return {
      ...this.#common(),
      name: this.name,
      description: marked('Messages of Busbar'),
      subjects: [this.#subjects.messages],
      discard: 'old',
      max_age: (maxAgeMs ?? 0) * MS,
      max_bytes: maxBytes ?? -1,
      max_msgs: maxMessages ?? -1,
      duplicate_window: Math.min(duplicateWindowMs, maxAgeMs ?? Infinity) * MS,
      ...this.#session.options.native.stream,
    }
  }

  #deadLetterConfig(): StreamConfig {
    const { deadLetterMaxAgeMs, duplicateWindowMs } = this.#session.options.stream
    return {
      ...this.#common(),
      name: this.deadLetters,
      description: marked('Dead letters of Busbar'),
      subjects: [this.#subjects.deadLetters],
      // Nobody is waiting for them; when there is no room they must be refused, not lost.
      discard: 'new',
      max_age: (deadLetterMaxAgeMs ?? 0) * MS,
      max_bytes: -1,
      max_msgs: -1,
      duplicate_window: Math.min(duplicateWindowMs, deadLetterMaxAgeMs ?? Infinity) * MS,
    }
  }

  #stateConfig(): StreamConfig {
    return {
      ...this.#common(),
      name: this.state,
      description: marked('Leases, attempts and marks of Busbar: the last record of each subject counts'),
      subjects: [`${this.#subjects.state}.>`],
      discard: 'old',
      max_age: STATE_MAX_AGE_MS * MS,
      max_bytes: -1,
      max_msgs: -1,
      max_msgs_per_subject: 1,
      duplicate_window: 1_000 * MS,
    }
  }

  #tellDrift({ config }: StreamInfo): void {
    const wanted = this.#mainConfig()
    const fields = [
      ['maxAgeMs', 'max_age'],
      ['maxBytes', 'max_bytes'],
      ['maxMessages', 'max_msgs'],
      ['storage', 'storage'],
      ['replicas', 'num_replicas'],
      ['duplicateWindowMs', 'duplicate_window'],
    ] as const
    const { given, partitions } = this.#session.options.stream
    const drift = fields
      .filter(([option, field]) => given.has(option) && config[field] !== wanted[field])
      .map(([option, field]) => `${option}: ${String(config[field])} instead of ${String(wanted[field])}`)
    if (given.has('partitions') && this.#subjects.partitions !== partitions)
      drift.push(`partitions: ${this.#subjects.partitions} instead of ${partitions}`)
    if (drift.length > 0)
      this.#session.warning(
        'nats-stream-drift',
        `stream "${this.name}" differs from the options and is used as it is (durations in ns): ${drift.join('; ')}`,
      )
  }

  down(): void {}

  restore(): Promise<void> {
    return this.ensure()
  }

  up(): void {}
}
