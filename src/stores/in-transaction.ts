import { isSuccess } from '../core/consume/batch-result.ts'
import { RejectError } from '../core/errors.ts'
import type { BatchContext, BatchHandler, Handler, HandlerContext } from '../core/handler.ts'
import type { Message } from '../core/message.ts'
import { RetryRequest } from '../core/consume/retry.ts'
import type { UnitOfWork } from './unit-of-work.ts'

/** The context of a handler that runs in a transaction. */
export interface TransactionContext<Tx> extends HandlerContext {
  /** The transaction, as your database library gives it: run your statements on it. */
  readonly tx: Tx
}

/** The context of a batch handler that runs in a transaction. */
export interface BatchTransactionContext<Tx> extends BatchContext {
  /** The transaction, as your database library gives it: run your statements on it. */
  readonly tx: Tx
}

/**
 * Makes a handler that runs in its own transaction: `ctx.tx`. The transaction is committed before the message is acked. It is
 * rolled back when the handler throws, calls `ctx.reject` or `ctx.retry` (even if it catches what they throw), passes its deadline,
 * or when the delivery is lost.
 *
 *     bus.consume(PaymentTaken, inTransaction(unitOfWork, async ({ data }, ctx) => {
 *       await ctx.tx.query('UPDATE account SET cents = cents + $1 WHERE id = $2', [data.cents, data.account])
 *     }))
 *
 * Delivery remains at least once: a process that dies between COMMIT and ack gets the message again. What the handler publishes is
 * not part of the transaction.
 */
export function inTransaction<Tx, Data = unknown>(
  unitOfWork: UnitOfWork<Tx>,
  handler: (message: Message<Data>, ctx: TransactionContext<Tx>) => unknown,
): Handler<Data> {
  return (message, ctx) =>
    unitOfWork.run(
      async (tx) => {
        /** What `reject` or `retry` threw. The message is not acked then, so the transaction must not be committed. */
        let request: unknown
        const asking = (ask: () => never): never => {
          try {
            return ask()
          } catch (error) {
            if (RejectError.is(error) || RetryRequest.is(error)) request = error
            throw error
          }
        }
        const inside = extended(ctx, {
          tx,
          reject: (...args: Parameters<HandlerContext['reject']>) => asking(() => ctx.reject(...args)),
          retry: (...args: Parameters<HandlerContext['retry']>) => asking(() => ctx.retry(...args)),
        })
        const result = await handler(message, inside)
        if (request !== undefined) throw request as Error
        return result
      },
      { signal: ctx.signal },
    )
}

/**
 * Makes a batch handler that runs in one transaction: `ctx.tx`. When it reports a failed message, nothing of the batch is committed:
 * the failed messages are retried as usual, and the others are handled again without using an attempt.
 *
 *     bus.consume(PaymentTaken, batchInTransaction(unitOfWork, async (messages, ctx) => {
 *       await insertPayments(ctx.tx, messages.map(({ data }) => data))
 *     }), { batch: { size: 100, timeoutMs: 50 } })
 *
 * Otherwise like `inTransaction`.
 */
export function batchInTransaction<Tx, Data = unknown>(
  unitOfWork: UnitOfWork<Tx>,
  handler: (messages: readonly Message<Data>[], ctx: BatchTransactionContext<Tx>) => ReturnType<BatchHandler<Data>>,
): BatchHandler<Data> {
  return async (messages, ctx) => {
    try {
      return await unitOfWork.run(
        async (tx) => {
          const reported = await handler(messages, extended(ctx, { tx }))
          // Anything but nothing, or a list of the right length, fails as a whole when the consumer sees it.
          const isFine = Array.isArray(reported)
            ? reported.length === messages.length && reported.every(isSuccess)
            : reported === undefined || reported === null
          if (isFine) return reported
          throw new Unsuccessful(reported)
        },
        { signal: ctx.signal },
      )
    } catch (error) {
      if (!(error instanceof Unsuccessful)) throw error
      return error.results()
    }
  }
}

/** Rolls a transaction back whose batch handler has ended without throwing. */
class Unsuccessful extends Error {
  readonly #reported: unknown

  constructor(reported: unknown) {
    super('A message of the batch failed, so the transaction of the batch was rolled back')
    this.#reported = reported
  }

  results(): ReturnType<BatchHandler> {
    if (!Array.isArray(this.#reported)) return this.#reported as ReturnType<BatchHandler>
    const again = new RetryRequest({ countAttempt: false, delayMs: 0, cause: this })
    return this.#reported.map((result: unknown) => (isSuccess(result) ? again : (result as Error)))
  }
}

/** The context with more in it. A proxy, because contexts have private state, and may be wrapped by others already. */
function extended<Context extends object, More extends object>(ctx: Context, more: More): Context & More {
  return new Proxy(ctx, {
    get(target, name) {
      if (Object.hasOwn(more, name)) return more[name as keyof More]
      const value: unknown = Reflect.get(target, name, target)
      return typeof value === 'function' ? (value.bind(target) as unknown) : value
    },
    has: (target, name) => Object.hasOwn(more, name) || name in target,
  }) as Context & More
}
