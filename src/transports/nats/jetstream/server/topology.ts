import { AuthorizationError, ConfigurationError, UnsupportedError } from '../../../../core/errors.ts'
import { ERR, isNoResponders, isNotFound, JetStreamError, toBusbarError } from '../../errors.ts'
import { isSameStream, streamIdentityOf } from './identity.ts'
import type { DirectRecord, JetStreamApi } from './jetstream-api.ts'
import type { StreamConfig, StreamInfo } from './jetstream-types.ts'
import type { Session, SessionPart } from '../../connection/session.ts'
import { shareNext } from './share-next.ts'
import { streamConfig, streamConfigs } from './stream-configs.ts'
import type { StreamConfigs } from './stream-configs.ts'
import { boundDriftOf, driftOf, fewerReplicasOf, shortRetentionOf } from './stream-drift.ts'
import { streamProblems } from './stream-problems.ts'
import type { StreamRole } from './stream-problems.ts'
import { writeRecord } from './state-records.ts'
import type { RecordStreams } from './state-records.ts'
import { subjectsOverlap } from '../../wire/subjects.ts'
import type { Subjects } from '../../wire/subjects.ts'

const MS = 1_000_000
const OLDEST_SERVER = [2, 9] as const
const OLDEST_WITH_AGES = [2, 11] as const
/** Maximum number of subjects that are remembered. */
const MAX_KNOWN = 10_000

/** What existed when it was looked up. */
interface Found {
  readonly streams: ReadonlyMap<string, StreamInfo>
  readonly partitions: DirectRecord | undefined
}

/**
 * The streams of a bus: messages, dead letters, and Busbar's own notes. Leases have a separate stream, in memory: a
 * server whose disk is full refuses to store anything there, and without leases nothing could be consumed, so that the
 * disk would stay full. Created when missing; never changed afterwards, because others may rely on them: differences
 * from the options are reported instead.
 */
export class Topology implements SessionPart, RecordStreams {
  /** Of the messages: ours, or one of other programs. */
  readonly name: string
  /** What the names of ours begin with. */
  readonly own: string
  readonly deadLetters: string
  readonly state: string
  readonly leases: string
  readonly #session: Session
  readonly #api: JetStreamApi
  readonly #subjects: Subjects
  /** Identity of each stream: a different one means that the stream was replaced. */
  readonly #identities = new Map<string, string>()
  /** The subjects of a stream of other programs. */
  #boundTo: readonly string[] | undefined
  /** It has messages of other streams, under their subjects. */
  #isCopy = false
  /** Whether it has a subject. */
  readonly #known = new Map<string, boolean>()
  readonly #looks = new Map<string, () => Promise<StreamInfo>>()
  #ensuring: Promise<void> | undefined
  /** How long the stream keeps a message, in ms; undefined for no limit. */
  maxAgeMs: number | undefined

  constructor(session: Session, api: JetStreamApi, subjects: Subjects) {
    this.#session = session
    this.#api = api
    this.#subjects = subjects
    const { stream, retention } = session.options
    this.own = stream.name
    this.name = stream.bind ?? stream.name
    this.deadLetters = `${this.own}_dlq`
    this.state = `${this.own}_state`
    this.leases = `${this.own}_leases`
    this.maxAgeMs = retention.maxAgeMs
  }

  /** The stream that holds a topic. */
  streamOf(dead: boolean): string {
    return dead ? this.deadLetters : this.name
  }

  /** Whether the stream of the messages may hold anything of a subject. */
  stores(subject: string): boolean {
    return this.#isCopy || this.takes(subject)
  }

  /** Whether the stream of the messages takes what is published to a subject. One of ours takes every topic. */
  takes(subject: string): boolean {
    if (this.#boundTo === undefined) return true
    let known = this.#known.get(subject)
    if (known === undefined) {
      known = this.#boundTo.some((own) => subjectsOverlap(own, subject))
      if (this.#known.size >= MAX_KNOWN) this.#known.clear()
      this.#known.set(subject, known)
    }
    return known
  }

  /** Changes when a stream was lost and created again: earlier positions and deliveries are void. */
  identityOf(stream: string): string | undefined {
    return this.#identities.get(stream)
  }

  /** Looks up a stream after the call. Many readers may begin at once: they share a look. */
  look(stream: string): Promise<StreamInfo> {
    let look = this.#looks.get(stream)
    if (look === undefined) this.#looks.set(stream, (look = shareNext(() => this.#api.streamInfo(stream))))
    return look()
  }

  async open(): Promise<void> {
    await this.#requireJetStream()
    await this.ensure()
    for (const start of [this.#subjects.state, this.#subjects.leases]) await this.#requirePermission(start)
  }

  /** Leases and notes are written while messages are handled: a missing permission should fail now rather than then. */
  async #requirePermission(start: string): Promise<void> {
    try {
      // The server checks the condition, which is never met.
      await writeRecord(this.#session, `${start}.check`, '', Number.MAX_SAFE_INTEGER)
    } catch (error) {
      if (AuthorizationError.is(error))
        throw new AuthorizationError(
          `The NATS user may not publish to "${start}.>", where Busbar notes what it needs to share out messages: grant it. (${error.message})`,
          { cause: error },
        )
      // A server that refuses it for another reason has granted the permission.
      if (!(error instanceof JetStreamError)) throw error
    }
  }

  async #requireJetStream(): Promise<void> {
    const { serverVersion, serverName } = this.#session
    if (this.#session.isOlderThan(...OLDEST_SERVER))
      throw new UnsupportedError(
        `The NATS server at ${serverName} has version ${serverVersion}; JetStream needs ${OLDEST_SERVER.join('.')} or later here. Upgrade it, or use nats({ jetstream: false }).`,
      )
    if (this.#session.options.retention.topics.length > 0 && this.#session.isOlderThan(...OLDEST_WITH_AGES))
      throw new UnsupportedError(
        `The NATS server at ${serverName} has version ${serverVersion}; ages of topics (retention.topics) need ${OLDEST_WITH_AGES.join('.')} or later. Upgrade it, or give such topics a stream of their own (stream.name).`,
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

  /** Creates what is missing. Concurrent calls share one run. */
  ensure(): Promise<void> {
    this.#ensuring ??= this.#ensureAll().finally(() => {
      this.#ensuring = undefined
    })
    return this.#ensuring
  }

  async #ensureAll(): Promise<void> {
    const { options } = this.#session
    const found = await this.#find()
    const state = await this.#ensureStream(this.#configs.state, 'state', found)
    const isBound = options.stream.bind !== undefined
    if (!isBound) this.#subjects.partitions = await this.#agreeOnPartitions(found)
    const wanted = this.#configs
    const messages = await (isBound ? this.#bind(wanted.messages, found) : this.#ensureOwn(wanted.messages, found))
    this.maxAgeMs = messages.config.max_age === 0 ? undefined : messages.config.max_age / MS
    const dead = await this.#ensureStream(wanted.deadLetters, 'deadLetters', found)
    const leases = await this.#ensureLeases(wanted.leases, found)
    const drift = isBound
      ? boundDriftOf(messages, wanted.messages)
      : driftOf(messages, wanted.messages, options, this.#subjects.partitions)
    drift.push(...shortRetentionOf(isBound ? undefined : messages, dead, wanted, options))
    for (const text of drift) this.#session.warning('nats-stream-drift', text)
    for (const text of fewerReplicasOf(messages, [state, dead, leases]))
      this.#session.warning('nats-fewer-replicas', text)
  }

  async #ensureOwn(config: StreamConfig, found: Found): Promise<StreamInfo> {
    const info = await this.#ensureStream(config, 'messages', found)
    this.#checkSubjects(info)
    return info
  }

  /** A stream of other programs is neither made nor changed. */
  async #bind(config: StreamConfig, { streams }: Found): Promise<StreamInfo> {
    const info = streams.get(this.name)
    if (info === undefined)
      throw new ConfigurationError('nats', [
        {
          path: 'stream.bind',
          message: `there is no stream "${this.name}": make it first, or leave out stream.bind, and Busbar makes one of its own`,
        },
      ])
    this.#refuse(info, config, 'bound')
    this.#note(info)
    this.#known.clear()
    const { mirror, sources, subjects } = info.config as Partial<StreamConfig>
    this.#boundTo = subjects ?? []
    this.#isCopy = (mirror ?? sources ?? undefined) !== undefined
    return info
  }

  /** Depends on the number of partitions. */
  get #configs(): StreamConfigs {
    return streamConfigs(this.#session.options, this.#subjects, this.#isWide)
  }

  /** Looks up everything at once: in a cluster, each stream has its own leader, which may just have died. */
  async #find(): Promise<Found> {
    const streams = new Map<string, StreamInfo>()
    const names = [this.state, this.name, this.deadLetters, this.leases]
    const [partitions] = await Promise.all([
      this.#partitionsRecord().catch((error: unknown) => {
        // The stream of the record is missing, or belongs to a server that has just started.
        if (isNoResponders(error) || isNotFound(error)) return undefined
        throw error
      }),
      ...names.map(async (name) => {
        try {
          streams.set(name, await this.#api.streamInfo(name))
        } catch (error) {
          if (!isNotFound(error)) throw error
        }
      }),
    ])
    return { streams, partitions }
  }

  /** Every subject that we publish to must be stored, and those that we do not read should not be. */
  #checkSubjects({ config: { subjects } }: StreamInfo): void {
    const all = `${this.#subjects.prefix}.>`
    const isWide = subjects.includes(all)
    const missing = isWide ? [] : this.#subjects.stored.filter((subject) => !subjects.includes(subject))
    if (missing.length > 0)
      throw new ConfigurationError('nats', [
        {
          path: 'stream.name',
          message: `there is a stream "${this.name}" already, for other subjects (${subjects.slice(0, 20).join(', ')}), and it does not store ${missing[0]}: choose another name, or add ${missing.join(', ')}`,
        },
      ])
    if (isWide && !this.#isWide)
      this.#session.warning(
        'nats-stream-drift',
        `stream "${this.name}" stores all of "${all}", also what no consumer reads, such as "${this.#subjects.prefix}.orders.placed": narrow its subjects to ${this.#subjects.stored.join(', ')}`,
      )
  }

  /** Before 2.10 a consumer's filter can't span several subjects of a stream, which reading a whole topic needs. */
  get #isWide(): boolean {
    return this.#session.isOlderThan(2, 10)
  }

  async #ensureLeases(config: StreamConfig, { streams }: Found): Promise<StreamInfo> {
    let info: StreamInfo
    try {
      info = await this.#foundOrCreate(config, streams.get(config.name))
    } catch (error) {
      if (!(error instanceof JetStreamError) || error.code === 503) throw error
      // No room for it in memory, or none for this account.
      info = await this.#infoOrCreate({ ...config, storage: 'file' })
      this.#session.warning(
        'nats-leases-on-disk',
        `stream "${this.leases}" can't be kept in memory (${error.message}): when the disk is full, messages with a key will not be consumed`,
      )
    }
    this.#refuse(info, config, 'leases')
    return info
  }

  #refuse({ config }: StreamInfo, wanted: StreamConfig, role: StreamRole): void {
    const { native, given, retention } = this.#session.options
    const problems = streamProblems(config, {
      role,
      wanted,
      isAgeGiven:
        role === 'messages'
          ? given.has('maxAgeMs')
          : role === 'deadLetters' && retention.deadLetterMaxAgeMs !== undefined,
      // One that reads the partitions, and one for messages without a key.
      consumers: 2,
      native: native.stream ?? {},
    })
    if (problems.length > 0) throw new ConfigurationError('nats', problems)
  }

  /** The first one to come decides, for all and permanently: where a key goes must be the same for all members. */
  async #agreeOnPartitions(found: Found): Promise<number> {
    for (let record = found.partitions; ; record = await this.#partitionsRecord()) {
      const known = Number(record?.text)
      if (Number.isInteger(known) && known > 0) return known
      const wanted = (await this.#partitionsOfStream()) ?? this.#session.options.partitions
      const seq = await writeRecord(this.#session, this.#partitionsSubject, String(wanted), record?.seq ?? 0)
      if (seq !== undefined) return wanted
    }
  }

  get #partitionsSubject(): string {
    return `${this.#subjects.state}.partitions`
  }

  #partitionsRecord(): Promise<DirectRecord | undefined> {
    return this.#api.lastRecord(this.state, this.#partitionsSubject)
  }

  /** If the record was lost with its stream: the number of partitions that messages are stored for. */
  async #partitionsOfStream(): Promise<number | undefined> {
    try {
      const { config } = await this.#api.streamInfo(this.name)
      const own = new Set(config.subjects)
      let count = 0
      while (own.has(`${this.#subjects.prefix}.${count}.>`)) count++
      return count === 0 ? undefined : count
    } catch (error) {
      if (isNotFound(error)) return undefined
      throw error
    }
  }

  /** Creates an additional stream if it is missing, with the settings common to all of ours. */
  async ensureStream(
    config: Pick<StreamConfig, 'name' | 'subjects' | 'retention' | 'max_age'> & { readonly description: string },
  ): Promise<void> {
    await this.#infoOrCreate(streamConfig(this.#session.options, config))
  }

  async #ensureStream(config: StreamConfig, role: StreamRole, { streams }: Found): Promise<StreamInfo> {
    const info = await this.#foundOrCreate(config, streams.get(config.name))
    this.#refuse(info, config, role)
    this.#note(info)
    return info
  }

  #note(info: StreamInfo): void {
    const { name } = info.config
    const before = this.#identities.get(name)
    const identity = streamIdentityOf(info)
    this.#identities.set(name, identity)
    if (before !== undefined && !isSameStream(before, identity))
      this.#session.warning(
        'nats-stream-recreated',
        `stream "${name}" was deleted and made again: its messages are lost`,
      )
  }

  #foundOrCreate(config: StreamConfig, info: StreamInfo | undefined): Promise<StreamInfo> {
    return info === undefined ? this.#infoOrCreate(config) : Promise.resolve(info)
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
      if (!(error instanceof JetStreamError)) throw error
      // Another process was faster, with its own options.
      if (error.errCode === ERR.streamNameInUse) return await this.#api.streamInfo(config.name)
      if (error.errCode === ERR.subjectOverlap) throw await this.#overlap(config, error)
      throw error
    }
  }

  /** Reports which stream is in the way. */
  async #overlap({ name, subjects }: StreamConfig, cause: JetStreamError): Promise<Error> {
    const found = new Set<string>()
    for (const subject of subjects) for (const other of await this.#api.streamNames(subject)) found.add(other)
    const others = [...found].map((other) => `"${other}"`).join(', ')
    return new ConfigurationError('nats', [
      {
        path: 'stream.subjectPrefix',
        message: `the stream "${name}" can't be made, because ${others === '' ? 'another stream' : `the stream ${others}`} stores some of its subjects (${subjects.slice(0, 3).join(', ')}) already: choose another stream.subjectPrefix (or stream.name), or change the subjects of that stream (${cause.message})`,
      },
    ])
  }

  down(): void {}

  restore(): Promise<void> {
    return this.ensure()
  }

  up(): void {}
}
