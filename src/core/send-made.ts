import type { PublishError } from './errors.ts'
import { toError } from './make-many.ts'
import type { OutgoingMessage } from './message.ts'
import type { PublishItem, PublishReceipt, PublishResult } from './publish-options.ts'
import type { Publisher } from './publisher.ts'
import type { Position } from './transport.ts'

/** Sends the message of one `publish`. `startedAt`: see `Publisher.send`. */
export function sendOne(
  publisher: Publisher,
  message: OutgoingMessage,
  signal: AbortSignal | undefined,
  startedAt: number | undefined,
  resolve: (receipt: PublishReceipt) => void,
  reject: (error: unknown) => void,
): void {
  try {
    publisher.check(message)
  } catch (error) {
    reject(error)
    return
  }
  const settle = (_index: number, position: Position | undefined, error: PublishError | undefined): void => {
    if (error === undefined) resolve({ id: message.id, position })
    else reject(error)
  }
  publisher.send([message], signal, settle, startedAt)
}

/** Sends the messages that could be made, and resolves with one result per item. */
export function sendMany(
  publisher: Publisher,
  items: readonly PublishItem[],
  made: readonly (OutgoingMessage | Error)[],
  signal: AbortSignal | undefined,
  startedAt: number | undefined,
  resolve: (results: readonly PublishResult[]) => void,
): void {
  const results: PublishResult[] = Array.from({ length: made.length })
  const messages: OutgoingMessage[] = []
  /** Index among the items of the message at each index of `messages`; only kept if an item was refused. */
  let indexes: number[] | undefined
  for (const [index, one] of made.entries()) {
    try {
      if (one instanceof Error) throw one
      publisher.check(one)
      messages.push(one)
      indexes?.push(index)
    } catch (error) {
      indexes ??= messages.map((_, at) => at)
      results[index] = { id: items[index]?.id ?? '', error: toError(error) }
    }
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
