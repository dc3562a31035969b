import type { Msg } from '@nats-io/transport-node'
import { ERR, JetStreamError, toBusbarError } from '../../errors.ts'
import type { ConsumerConfig, ConsumerInfo, StoredNative, StreamConfig, StreamInfo } from './jetstream-types.ts'
import type { Session } from '../../connection/session.ts'
import { Turns } from '../../../../core/util/turns.ts'

interface Asking {
  readonly repeat?: boolean
  /** First pause before it is sent again, in ms. */
  readonly againMs?: number
  readonly timeoutMs?: number
}

interface Answer {
  readonly error?: { readonly code: number; readonly err_code?: number; readonly description?: string }
}

/** Content of a record, read by subject. */
export interface DirectRecord {
  readonly seq: number
  /** When the server stored it, in ms since 1970, by the server's clock. */
  readonly time: number
  readonly text: string
}

const NOT_FOUND = 404
/** More calls at once than the server answers in time would only time out, and be sent again: a process may have thousands of groups. */
const AT_ONCE = 128

/** To create what may be there already. It may take the server a while, so it is not sent again soon. */
const CREATING = { repeat: true, againMs: 2_500 } as const
/** Commands that only look something up, and cost the server little, may be sent any number of times. */
const ASKING = { repeat: true } as const

/**
 * JetStream's management API: JSON in, JSON out. Calls are few and not on the hot path, so no library is needed on top
 * of the connection.
 */
export class JetStreamApi {
  /** How long a call waits for its answer. */
  readonly timeoutMs: number
  readonly #session: Session
  readonly #prefix: string
  readonly #turns = new Turns(AT_ONCE)

  constructor(session: Session, timeoutMs: number) {
    const { domain } = session.options
    this.#session = session
    this.#prefix = domain === undefined ? '$JS.API' : `$JS.${domain}.API`
    this.timeoutMs = timeoutMs
  }

  /** Subject for requesting messages from a consumer. */
  nextSubject(stream: string, consumer: string): string {
    return `${this.#prefix}.CONSUMER.MSG.NEXT.${stream}.${consumer}`
  }

  accountInfo(): Promise<object> {
    return this.#call('INFO', undefined, 'Asking for JetStream', ASKING)
  }

  // --- streams -----------------------------------------------------------------------------------------------------

  streamInfo(stream: string, options: { subjects_filter?: string; offset?: number } = {}): Promise<StreamInfo> {
    return this.#call(
      `STREAM.INFO.${stream}`,
      options,
      `Looking up stream "${stream}"`,
      options.subjects_filter === undefined ? ASKING : {},
    )
  }

  createStream(config: StreamConfig): Promise<StreamInfo> {
    return this.#call(`STREAM.CREATE.${config.name}`, config, `Creating stream "${config.name}"`)
  }

  /** Streams that store anything matching a subject. */
  async streamNames(subject: string): Promise<readonly string[]> {
    const { streams } = await this.#call<{ streams: readonly string[] | null }>(
      'STREAM.NAMES',
      { subject },
      `Looking for streams of "${subject}"`,
    )
    return streams ?? []
  }

  async purge(stream: string, filter: string): Promise<number> {
    const { purged } = await this.#call<{ purged: number }>(
      `STREAM.PURGE.${stream}`,
      { filter },
      `Purging "${filter}" of stream "${stream}"`,
    )
    return purged
  }

  /** False when there is no such message. */
  async deleteMessage(stream: string, seq: number): Promise<boolean> {
    try {
      await this.#call(
        `STREAM.MSG.DELETE.${stream}`,
        { seq, no_erase: true },
        `Deleting message ${seq} of stream "${stream}"`,
      )
      return true
    } catch (error) {
      // Servers report this differently.
      if (
        error instanceof JetStreamError &&
        (error.code === NOT_FOUND || /no message found|not found/i.test(error.message))
      )
        return false
      throw error
    }
  }

  /** One stored message; undefined when there is none. */
  async message(
    stream: string,
    query: { seq: number } | { seq: number; next_by_subj: string } | { last_by_subj: string },
  ): Promise<StoredNative | undefined> {
    try {
      const { message } = await this.#call<{ message: StoredNative }>(
        `STREAM.MSG.GET.${stream}`,
        query,
        `Reading stream "${stream}"`,
        ASKING,
      )
      return message
    } catch (error) {
      if (error instanceof JetStreamError && error.code === NOT_FOUND) return undefined
      throw error
    }
  }

  /** The last record of a subject; rejects when there is no such stream. Needs a stream with `allow_direct`. */
  async lastRecord(stream: string, subject: string): Promise<DirectRecord | undefined> {
    // Before 2.10 a direct read of a missing stream gets no answer, not even "no responders".
    if (this.#session.isOlderThan(2, 10)) return this.#lastRecordOfLeader(stream, subject)
    const answer = await this.#request(`DIRECT.GET.${stream}.${subject}`, undefined, `Reading "${subject}"`, ASKING)
    const { headers } = answer
    if (headers !== undefined && headers.code === NOT_FOUND) return undefined
    if (headers === undefined || headers.code >= 400)
      throw new JetStreamError(`Reading "${subject}"`, headers?.code ?? 500, 0, headers?.description ?? 'no headers')
    return {
      seq: Number(headers.get('Nats-Sequence')),
      time: Date.parse(headers.get('Nats-Time-Stamp')),
      text: answer.string(),
    }
  }

  async #lastRecordOfLeader(stream: string, subject: string): Promise<DirectRecord | undefined> {
    try {
      const { message } = await this.#call<{ message: StoredNative }>(
        `STREAM.MSG.GET.${stream}`,
        { last_by_subj: subject },
        `Reading "${subject}"`,
        ASKING,
      )
      const { seq, time, data = '' } = message
      return { seq, time: Date.parse(time), text: Buffer.from(data, 'base64').toString() }
    } catch (error) {
      if (error instanceof JetStreamError && error.errCode === ERR.messageNotFound) return undefined
      throw error
    }
  }

  // --- consumers ---------------------------------------------------------------------------------------------------

  consumerInfo(stream: string, consumer: string): Promise<ConsumerInfo> {
    return this.#call(`CONSUMER.INFO.${stream}.${consumer}`, undefined, `Looking up consumer "${consumer}"`, ASKING)
  }

  /**
   * Rejects when there is another consumer of that name. Servers before 2.10 change that one, if they can. A stream that
   * lets consumers live for less time than `inactive_threshold` makes one that lives for so long.
   */
  async createConsumer(
    stream: string,
    name: string,
    config: ConsumerConfig,
    timeoutMs: number = this.timeoutMs,
  ): Promise<ConsumerInfo> {
    // The subject of the request names the filter, unless there are several.
    const filter = config.filter_subjects === undefined ? `.${config.filter_subject ?? '>'}` : ''
    const create = (settings: ConsumerConfig): Promise<ConsumerInfo> =>
      this.#call(
        `CONSUMER.CREATE.${stream}.${name}${filter}`,
        { stream_name: stream, config: settings, action: 'create' },
        `Creating consumer "${name}"`,
        { ...CREATING, timeoutMs },
      )
    try {
      return await create(config)
    } catch (error) {
      if (!(error instanceof JetStreamError) || error.errCode !== ERR.inactiveThreshold) throw error
      const { inactive_threshold: _, ...limited } = config
      return create(limited)
    }
  }

  /** False when there was none. */
  async deleteConsumer(stream: string, consumer: string): Promise<boolean> {
    try {
      await this.#call(`CONSUMER.DELETE.${stream}.${consumer}`, undefined, `Deleting consumer "${consumer}"`)
      return true
    } catch (error) {
      if (error instanceof JetStreamError && error.code === NOT_FOUND) return false
      throw error
    }
  }

  async #call<Result>(subject: string, body: object | undefined, doing: string, how?: Asking): Promise<Result> {
    const answer = (await this.#request(subject, body, doing, how)).json<Answer & Result>()
    if (answer.error === undefined) return answer
    const { code, err_code: errCode = 0, description = 'unknown error' } = answer.error
    throw new JetStreamError(doing, code, errCode, description)
  }

  async #request(subject: string, body: object | undefined, doing: string, how: Asking = {}): Promise<Msg> {
    const to = `${this.#prefix}.${subject}`
    const text = body === undefined ? '' : JSON.stringify(body)
    const options = { timeout: how.timeoutMs ?? this.timeoutMs }
    try {
      // The time for the answer begins with the turn.
      return await this.#turns.run(() =>
        how.repeat === true
          ? this.#session.requestAgain(to, text, options, how.againMs)
          : this.#session.request(to, text, options),
      )
    } catch (error) {
      throw toBusbarError(error, doing)
    }
  }
}
