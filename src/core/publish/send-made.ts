import { ValidationError } from '../errors.ts'
import type { PublishError } from '../errors.ts'
import { makeMany } from './make-many.ts'
import type { OutgoingMessage, Position } from '../message.ts'
import type { PublishItem, PublishReceipt, PublishResult } from './publish-options.ts'
import type { Publisher } from './publisher.ts'
import { topicProblem } from '../topic.ts'

/** A message for each item that its publisher accepts, or why there is none. */
export type Made = readonly (OutgoingMessage | Error)[]

/** A promise while an asynchronous schema or codec is at work. */
export type MadeMany = Made | Promise<Made>

/** Sends the message of one `publish`. `startedAt`: see `Publisher.send`. */
export function sendOne(
  publisher: Publisher,
  message: OutgoingMessage,
  signal: AbortSignal | undefined,
  startedAt: number | undefined,
  resolve: (receipt: PublishReceipt) => void,
  reject: (error: unknown) => void,
): void {
  const settle = (_index: number, position: Position | undefined, error: PublishError | undefined): void => {
    if (error === undefined) resolve({ id: message.id, position })
    else reject(error)
  }
  publisher.send([message], signal, settle, startedAt)
}

/** Sends the messages that could be made, and resolves with one result per item. */
export function sendMany(
  publisher: Publisher,
  items: readonly Pick<PublishItem, 'id'>[],
  made: Made,
  signal: AbortSignal | undefined,
  startedAt: number | undefined,
  resolve: (results: readonly PublishResult[]) => void,
): void {
  const results: PublishResult[] = []
  // Not Array.from({ length }): that takes longer than the rest of this function.
  results.length = made.length
  let messages = made as readonly OutgoingMessage[]
  /** Index among the items of the message at each index of `messages`; only if there is none for some item. */
  let indexes: number[] | undefined
  if (hasError(made)) {
    indexes = []
    const sendable: OutgoingMessage[] = []
    for (const [index, one] of made.entries()) {
      if (isError(one)) results[index] = { id: items[index]?.id ?? '', error: one }
      else {
        indexes.push(index)
        sendable.push(one)
      }
    }
    messages = sendable
  }
  if (messages.length === 0) {
    resolve(results)
    return
  }
  let open = messages.length
  const settle = (at: number, position: Position | undefined, error: PublishError | undefined): void => {
    const { id } = messages[at] as OutgoingMessage
    results[indexes === undefined ? at : (indexes[at] as number)] =
      error === undefined ? { id, position } : { id, error }
    if (--open === 0) resolve(results)
  }
  publisher.send(messages, signal, settle, startedAt)
}

function isError(one: OutgoingMessage | Error): one is Error {
  return one instanceof Error
}

/** Not `some`, which calls a function for each message. */
function hasError(made: Made): boolean {
  for (const one of made) if (isError(one)) return true
  return false
}

/** Sends messages that are encoded already, in order. Resolves with one result per message. */
export function sendEncoded(
  publisher: Publisher,
  messages: readonly OutgoingMessage[],
  signal: AbortSignal | undefined,
): Promise<readonly PublishResult[]> {
  const checked = makeMany(messages, (message) => {
    const problem = problemOf(message)
    if (problem !== undefined) throw problem
    return publisher.accept(message)
  }) as Made
  return new Promise((resolve) => sendMany(publisher, messages, checked, signal, undefined, resolve))
}

/** They come from a database or another process: one that is broken must not harm the others of its batch. */
function problemOf(message: Partial<OutgoingMessage> | null | undefined): ValidationError | undefined {
  const { id, topic, headers, body } = message ?? {}
  if (typeof id !== 'string' || id === '') return new ValidationError('The encoded message has no id')
  const problem = topicProblem(topic as string, false)
  if (problem !== undefined) return new ValidationError(`The topic of the encoded message ${id} ${problem}`)
  if (body !== null && !(body instanceof Uint8Array))
    return new ValidationError(`The body of the encoded message ${id} must be a Uint8Array, or null for a tombstone`)
  if (typeof headers !== 'object' || headers === null)
    return new ValidationError(`The headers of the encoded message ${id} must be an object`)
  return undefined
}
