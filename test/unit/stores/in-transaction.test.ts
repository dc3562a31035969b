import { DatabaseSync } from 'node:sqlite'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createBus } from '../../../src/index.ts'
import type { Bus, ConsumeOptions, Message } from '../../../src/index.ts'
import { memory } from '../../../src/transports/memory/index.ts'
import { batchInTransaction, inTransaction } from '../../../src/stores/index.ts'
import type { BatchTransactionContext, TransactionContext } from '../../../src/stores/index.ts'
import { sqliteUnitOfWork } from '../../../src/stores/sqlite/index.ts'
import { recorder } from '../../../src/testing/recorder.ts'
import type { Recorder } from '../../../src/testing/recorder.ts'

const QUICK = { retry: { attempts: 2, baseMs: 1, maxMs: 1 } } as const

describe('a handler in a transaction', () => {
  let database: DatabaseSync
  let bus: Bus
  let seen: Recorder
  beforeEach(() => {
    database = new DatabaseSync(':memory:')
    database.exec('CREATE TABLE note (message TEXT, attempt INTEGER)')
    bus = createBus({ service: 'notes', transport: memory(), logger: false })
    seen = recorder(bus)
  })
  afterEach(async () => {
    await bus.close({ timeoutMs: 200 })
    database.close()
  })

  const unitOfWork = () => sqliteUnitOfWork({ database })
  const notes = (): string[] =>
    database
      .prepare('SELECT message, attempt FROM note')
      .all()
      .map(({ message, attempt }) => `${String(message)}/${String(attempt)}`)
  const note = (tx: DatabaseSync, id: string, attempt: number): void =>
    void tx.prepare('INSERT INTO note VALUES (?, ?)').run(id, attempt)

  async function handle(
    handler: (message: Message, ctx: TransactionContext<DatabaseSync>) => unknown,
    options: ConsumeOptions = QUICK,
  ): Promise<void> {
    bus.consume('orders', inTransaction(unitOfWork(), handler), options)
    await bus.start()
    await bus.publish('orders', {}, { id: 'm' })
  }

  it('commits before the message is acked', async () => {
    let atAck: unknown[] = []
    bus.events.on('ack', () => {
      atAck = notes()
    })
    await handle(async ({ id }, ctx) => {
      note(ctx.tx, id, ctx.attempt)
      await Promise.resolve()
      expect(database.isTransaction).toBe(true)
    })
    await seen.waitFor('ack')
    expect(atAck).toEqual(['m/1'])
  })

  it('rolls back an attempt that throws', async () => {
    await handle((message, ctx) => {
      note(ctx.tx, message.id, ctx.attempt)
      if (ctx.attempt === 1) throw new Error('broken')
    })
    await seen.waitFor('ack')
    expect(notes()).toEqual(['m/2'])
  })

  it.each(['reject', 'retry'] as const)(
    'rolls back when ctx.%s is called, even if its error is caught',
    async (what) => {
      await handle((message, ctx) => {
        note(ctx.tx, message.id, ctx.attempt)
        if (ctx.attempt > 1) return
        try {
          if (what === 'reject') ctx.reject('no use')
          ctx.retry({ delayMs: 1 })
        } catch {
          // The handler goes on as if nothing had happened.
        }
      })
      await seen.waitFor(what === 'reject' ? 'deadLetter' : 'ack')
      expect(notes()).toEqual(what === 'reject' ? [] : ['m/2'])
    },
  )

  it('rolls back when the deadline passes, although the handler returns', async () => {
    await handle(
      async (message, ctx) => {
        note(ctx.tx, message.id, ctx.attempt)
        if (ctx.attempt === 1)
          await new Promise((resolve) => {
            ctx.signal.addEventListener('abort', resolve)
          })
      },
      { ...QUICK, timeoutMs: 20 },
    )
    await seen.waitFor('ack')
    expect(notes()).toEqual(['m/2'])
  })

  it('gives the handler a context that works as ever', async () => {
    const found: unknown[] = []
    await handle(async (message, ctx) => {
      found.push(ctx.group, ctx.attempt, ctx.consumer.topic, ctx.transport.name, ctx.signal.aborted, 'tx' in ctx)
      expect(ctx.tx).toBe(database)
      ctx.extend(1_000)
      await ctx.publish('paid', { of: message.id })
    })
    await seen.waitFor('ack')
    expect(found).toEqual(['notes', 1, 'orders', 'main', false, true])
    expect(seen.count('published', ({ topic }) => topic === 'paid')).toBe(1)
  })

  describe('of batches', () => {
    async function handleBatch(
      handler: (messages: readonly Message[], ctx: BatchTransactionContext<DatabaseSync>) => never,
    ): Promise<void> {
      bus.consume('orders', batchInTransaction(unitOfWork(), handler), {
        ...QUICK,
        order: 'none',
        batch: { size: 3, timeoutMs: 20 },
      })
      await bus.start()
      await bus.publishMany(
        'orders',
        ['a', 'b', 'c'].map((id) => ({ data: {}, id })),
      )
    }

    it('commits once for all messages', async () => {
      await handleBatch(((messages, ctx) => {
        for (const [index, { id }] of messages.entries()) note(ctx.tx, id, ctx.attempt(index))
      }) as (messages: readonly Message[], ctx: BatchTransactionContext<DatabaseSync>) => never)
      await seen.waitFor('ack', ({ message }) => message.id === 'c')
      expect(notes()).toEqual(['a/1', 'b/1', 'c/1'])
    })

    it.each([
      [
        'one failure',
        (messages: readonly Message[]) => messages.map(({ id }) => (id === 'b' ? new Error('no') : true)),
      ],
      ['a list that is too short', () => [true]],
      ['something that is not a result', () => 'done'],
    ])('rolls all back for %s, which is then the same as without a transaction', async (what, report) => {
      const attempts: string[] = []
      await handleBatch(((messages: readonly Message[], ctx: BatchTransactionContext<DatabaseSync>) => {
        for (const [index, { id }] of messages.entries()) {
          note(ctx.tx, id, ctx.attempt(index))
          attempts.push(`${id}/${ctx.attempt(index)}`)
        }
        // It fails for good with one failure, and at first otherwise.
        if (what === 'one failure' ? messages.some(({ id }) => id === 'b') : ctx.attempt(0) === 1)
          return report(messages)
        return undefined
      }) as never)
      if (what === 'one failure') {
        await seen.waitFor('deadLetter', ({ message }) => message.id === 'b')
        for (const id of ['a', 'c']) await seen.waitFor('ack', ({ message }) => message.id === id)
        // The others have used no attempt.
        expect(notes().sort()).toEqual(['a/1', 'c/1'])
        expect(attempts).toContain('b/2')
        expect(seen.count('deadLetter')).toBe(1)
      } else {
        for (const id of ['a', 'b', 'c']) await seen.waitFor('ack', ({ message }) => message.id === id)
        expect(notes().sort()).toEqual(['a/2', 'b/2', 'c/2'])
      }
    })
  })
})
