import { bodyOf } from '../../../core/message.ts'
import type { OutgoingMessage } from '../../../core/message.ts'
import { tooLarge } from '../../../core/publish/size-limit.ts'
import type { PublishOutcome } from '../../../core/transport.ts'
import type { RedisContext } from '../context.ts'
import { DelayedMover } from '../delays/delayed-mover.ts'
import { LostReplyError, NotSentError, replyCode, toPublishError } from '../errors.ts'
import { ReplicaWait } from './replica-wait.ts'
import type { CommandWriter } from '../wire/command-writer.ts'
import { Routes } from './routes.ts'
import type { PublishTarget } from './routes.ts'
import type { Commands } from '../connection/commands.ts'
import { explainWrongType } from '../connection/wrong-type.ts'
import { DELAY, PUBLISH_SIDE } from '../scripts/publish.ts'

/** Messages of one batch that are plain commands, and where each goes. */
interface Appended {
  readonly indexes: number[]
  readonly targets: PublishTarget[]
}

/** Between the values of an entry's two fields. */
const DATA = '$4\r\ndata\r\n'

type Outcomes = (PublishOutcome | undefined)[]

/** Stores batches: all commands of a turn in one write, with one promise for a batch. */
export class RedisPublisher {
  readonly #context: RedisContext
  readonly #routes: Routes
  readonly #delayed: DelayedMover
  readonly #replicas: ReplicaWait | undefined
  /** Batches that wait for the partitions of a new topic, or for replicas; later ones wait behind them, or they would overtake. */
  #preparing: Promise<void> | undefined

  constructor(context: RedisContext) {
    this.#context = context
    this.#routes = new Routes(context.keys, context.topics, context.retention)
    this.#delayed = new DelayedMover(context.host, context.scripts, context.reports)
    const { wait } = context.options
    this.#replicas = wait === undefined ? undefined : new ReplicaWait(context.commands, wait)
  }

  publish(batch: readonly OutgoingMessage[], signal: AbortSignal | undefined): Promise<readonly PublishOutcome[]> {
    const outcomes: Outcomes = Array.from({ length: batch.length })
    const mayGo = this.#preparing === undefined && this.#replicas?.isBusy !== true
    if (mayGo && batch.every(({ topic }) => this.#routes.knows(topic)))
      return this.#settled(batch, outcomes, this.#dispatch(batch, outcomes, signal), signal)
    let sent: Promise<unknown> = Promise.resolve()
    const preparing = (this.#preparing ?? Promise.resolve()).then(async () => {
      try {
        await this.#register(batch)
        await this.#replicas?.turn()
        // Given up meanwhile: those outcomes have been reported.
        if (signal?.aborted) throw new NotSentError('The publish was aborted')
        sent = this.#dispatch(batch, outcomes, signal)
      } catch (error) {
        for (const [index, { topic }] of batch.entries())
          outcomes[index] ??= {
            error: toPublishError(error instanceof LostReplyError ? new NotSentError(error.message) : error, topic),
          }
      }
    })
    this.#preparing = preparing
    const done = preparing.then(() => {
      if (this.#preparing === preparing) this.#preparing = undefined
      return sent
    })
    return this.#settled(batch, outcomes, done, signal, () => preparing)
  }

  close(): void {
    this.#delayed.close()
  }

  async #register(batch: readonly OutgoingMessage[]): Promise<void> {
    const topics = new Set(batch.map(({ topic }) => topic).filter((topic) => !this.#routes.knows(topic)))
    await Promise.all([...topics].map((topic) => this.#context.topics.register(topic)))
  }

  /** Resolves with the outcomes when all are known, or when the signal aborts: missing ones are then `unknown`. */
  #settled(
    batch: readonly OutgoingMessage[],
    outcomes: Outcomes,
    done: Promise<unknown>,
    signal: AbortSignal | undefined,
    preparing?: () => Promise<void>,
  ): Promise<readonly PublishOutcome[]> {
    if (signal === undefined) return done.then(() => outcomes as PublishOutcome[])
    return new Promise((resolve) => {
      let started = preparing === undefined
      preparing?.().then(
        () => (started = true),
        () => (started = true),
      )
      const abort = (): void => {
        // Unsent commands get the signal too, and report that they were not sent: let those come first.
        setImmediate(() => {
          for (const [index, { topic }] of batch.entries()) {
            const error = started
              ? new LostReplyError('the wait for the reply was given up')
              : new NotSentError('the wait for a connection was given up')
            outcomes[index] ??= { error: toPublishError(error, topic, signal.reason) }
          }
          resolve(outcomes as PublishOutcome[])
        })
      }
      signal.addEventListener('abort', abort, { once: true })
      if (signal.aborted) abort()
      done.then(() => {
        signal.removeEventListener('abort', abort)
        resolve(outcomes as PublishOutcome[])
      }, abort)
    })
  }

  // --- sending -----------------------------------------------------------------------------------------------------

  #dispatch(batch: readonly OutgoingMessage[], outcomes: Outcomes, signal: AbortSignal | undefined): Promise<unknown> {
    const { mapping, options, commands } = this.#context
    const sent: Promise<unknown>[] = []
    const appended: Appended = { indexes: [], targets: [] }
    for (let index = 0; index < batch.length; index++) {
      const message = batch[index] as OutgoingMessage
      const error = tooLarge(message, options.maxMessageBytes, 'redis')
      if (error !== undefined) {
        outcomes[index] = { error }
        continue
      }
      const target = this.#routes.targetOf(message) as PublishTarget
      const isPlain = message.deliverAt === undefined && message.group === undefined && mapping.packed
      if (isPlain && commands.batch !== undefined) {
        appended.indexes.push(index)
        appended.targets.push(target)
      } else sent.push(this.#single(target, message, index, outcomes, signal))
    }
    if (appended.indexes.length > 0) sent.push(this.#append(appended, batch, outcomes, signal))
    return sent.length === 1 ? (sent[0] as Promise<unknown>) : Promise.all(sent)
  }

  /** Plain commands: less work for the server than a script, and all of them are one write here, with one promise. */
  #append(
    { indexes, targets }: Appended,
    batch: readonly OutgoingMessage[],
    outcomes: Outcomes,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const { mapping, reports, commands, retention } = this.#context
    const write = (writer: CommandWriter): void => {
      for (let at = 0; at < indexes.length; at++) {
        const message = batch[indexes[at] as number] as OutgoingMessage
        writer.raw((targets[at] as PublishTarget).head)
        writer.argument(mapping.envelope(message))
        writer.text(DATA)
        writer.bytes(bodyOf(message))
      }
    }
    const sending = (commands.batch as NonNullable<Commands['batch']>)(indexes.length, write, signal)
    return this.#confirmed((targets[0] as PublishTarget).keys.stream, sending, batchUnconfirmed).then(
      async (answer) => {
        const replies = answer as readonly (Buffer | Error)[]
        let accepted = false
        for (let at = 0; at < indexes.length; at++) {
          const [index, reply, { keys, watched }] = [indexes[at] as number, replies[at], targets[at] as PublishTarget]
          if (reply instanceof Error) {
            reports.refused(reply)
            const error =
              replyCode(reply) === 'WRONGTYPE' ? await explainWrongType(commands, [keys.stream], reply) : reply
            outcomes[index] ??= {
              error: toPublishError(error, (batch[index] as OutgoingMessage).topic, signal?.reason),
            }
            continue
          }
          accepted = true
          outcomes[index] ??= { position: { partition: keys.partition, id: (reply as Buffer).toString('latin1') } }
          if (watched !== undefined) retention.grew(watched, 1)
        }
        if (accepted) reports.accepted('message')
      },
      (error: unknown) => {
        reports.refused(error)
        for (const index of indexes)
          outcomes[index] ??= { error: toPublishError(error, (batch[index] as OutgoingMessage).topic, signal?.reason) }
      },
    )
  }

  #single(
    target: PublishTarget,
    message: OutgoingMessage,
    index: number,
    outcomes: Outcomes,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const { stream, partition } = target.keys
    const isScript = message.deliverAt !== undefined || message.group !== undefined
    const confirmed = isScript
      ? this.#confirmedAfter(stream, () => this.#store(target, message, signal))
      : this.#confirmed(stream, this.#store(target, message, signal), unconfirmed)
    return confirmed.then(
      (id) => {
        outcomes[index] ??= {
          position: id === undefined ? undefined : { partition, id: (id as Buffer).toString('latin1') },
        }
        this.#accepted(target, 1)
      },
      (error: unknown) => {
        this.#context.reports.refused(error)
        outcomes[index] ??= { error: toPublishError(error, message.topic, signal?.reason) }
      },
    )
  }

  async #store(target: PublishTarget, message: OutgoingMessage, signal: AbortSignal | undefined): Promise<unknown> {
    const { scripts, commands, keys, mapping } = this.#context
    const { delayed, sequence, stream } = target.keys
    const fields = mapping.fields(message)
    const group = message.group === undefined ? undefined : keys.group(target.keys, message.group)
    if (message.deliverAt !== undefined) {
      const place = { delayed: group?.delayed ?? delayed, stream: group?.side ?? stream, group: message.group }
      const inMs = await scripts.run(DELAY, [place.delayed, sequence], [String(message.deliverAt), ...fields], signal)
      this.#delayed.expect(place, Number(inMs))
      return undefined
    }
    if (group !== undefined) {
      // A copy for one group has no place in the topic's own log.
      await scripts.run(PUBLISH_SIDE, [group.side], [group.group, ...fields], signal)
      this.#context.maintenance.announce(message.topic, group.group)
      return undefined
    }
    return commands.call(stream, ['XADD', stream, '*', ...fields], signal).catch(async (error: unknown) => {
      throw replyCode(error) === 'WRONGTYPE' ? await explainWrongType(commands, [stream], error) : error
    })
  }

  /**
   * With the option `wait`, a message counts when that many replicas have it. `otherwise`: the replies, when they have not
   * confirmed it.
   */
  #confirmed<Reply>(
    stream: string,
    stored: Promise<Reply>,
    otherwise: (replies: Reply, error: unknown) => Reply,
  ): Promise<Reply> {
    if (this.#replicas === undefined) return stored
    const confirmed = this.#replicas.confirm(stream)
    // A refusal says more than replicas that are missing.
    confirmed.catch(() => {})
    return stored.then((replies) =>
      confirmed.then(
        () => replies,
        (error: unknown) => otherwise(replies, error),
      ),
    )
  }

  /** The same for a script: if the server does not know it, it is sent in full, after whatever was sent in this turn. */
  async #confirmedAfter<Reply>(stream: string, store: () => Promise<Reply>): Promise<Reply> {
    const { losses } = this.#context.commands
    const reply = await store()
    await this.#replicas?.confirm(stream, losses)
    return reply
  }

  // --- how it went -------------------------------------------------------------------------------------------------

  #accepted(target: PublishTarget, count: number): void {
    this.#context.reports.accepted('message')
    if (target.watched !== undefined) this.#context.retention.grew(target.watched, count)
  }
}

function unconfirmed(_reply: unknown, error: unknown): never {
  throw error
}

/** What the server refused stays refused. */
function batchUnconfirmed(replies: readonly unknown[], error: unknown): readonly unknown[] {
  return replies.map((reply) => (reply instanceof Error ? reply : error))
}
