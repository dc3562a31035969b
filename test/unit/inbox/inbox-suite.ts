import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { createBus, defineEvent } from 'busbar'
import type { Bus } from 'busbar'
import { createInbox, idempotencyKey } from 'busbar/inbox'
import type { InboxOptions, InboxStore } from 'busbar/inbox'
import { memory } from 'busbar/memory'
import { createOutbox } from 'busbar/outbox'
import type { TxAdapter } from 'busbar/outbox'
import { createUnitOfWork } from 'busbar/stores'
import type { UnitOfWork } from 'busbar/stores'
import { uniqueName, waitUntil } from 'busbar/testing'

/** A database with an inbox, an outbox, and a table `effects` with the column `name`. */
export interface InboxDatabase<Tx> {
  readonly unitOfWork: UnitOfWork<Tx>
  readonly store: InboxStore<Tx>
  readonly tx: TxAdapter<Tx>
  readonly schema?: string
  addEffect(tx: Tx, name: string): Promise<unknown>
  effects(): Promise<readonly string[]>
  /** Ids of the rows of the outbox. */
  outbox(): Promise<readonly string[]>
}

const Paid = defineEvent<number>('payments.taken')

/** What an inbox must do on every database: cases 35 and 36. */
export function inboxSuite<Tx>(open: () => Promise<InboxDatabase<Tx>>): void {
  let database: InboxDatabase<Tx>
  let bus: Bus
  let effect = 0
  const duplicates: string[] = []

  beforeEach(async () => {
    database ??= await open()
    duplicates.length = 0
    const { unitOfWork, tx, schema } = database
    const outbox = createOutbox({ tx, unitOfWork, schema })
    bus = createBus({
      service: uniqueName('billing'),
      transport: memory(),
      publishMiddleware: [outbox.capture({ mode: 'when-present' })],
      extensions: [outbox],
      logger: false,
    })
    await bus.start()
  })
  afterEach(() => bus.close())

  const inbox = (options: Partial<InboxOptions<Tx>> = {}): ReturnType<typeof createInbox<Tx>> =>
    createInbox({
      unitOfWork: database.unitOfWork,
      store: database.store,
      onDuplicate: ({ id }) => duplicates.push(id),
      ...options,
    })
  const mine = async (name: string): Promise<number> => (await database.effects()).filter((one) => one === name).length
  const acks = async (count: number): Promise<unknown> =>
    waitUntil(() => bus.snapshot().consumers[0]?.stats.acked === count, {
      describe: () => bus.snapshot().consumers[0]?.stats,
    })

  describe('an inbox', () => {
    it('lets each message have its effect once, however often it comes, and at the same time too', async () => {
      const name = `effect-${++effect}`
      bus.consume(
        Paid,
        inbox().handler((_message, ctx) => database.addEffect(ctx.tx, name)),
        { concurrency: 5, order: 'none' },
      )
      const id = uniqueName('id')
      for (let copy = 0; copy < 5; copy++) await bus.publish(Paid, 1, { id })
      await bus.publish(Paid, 1, { id, source: 'another' })
      await acks(6)
      expect(await mine(name)).toBe(2)
      expect(duplicates).toEqual([id, id, id, id])
    })

    it('acks a duplicate, outside the transaction, even if onDuplicate throws', async () => {
      const warn = vi.spyOn(process, 'emitWarning').mockImplementation(() => {})
      let isInside: boolean | undefined
      const onDuplicate = (): never => {
        isInside = database.unitOfWork.current() !== undefined
        throw new Error('disk full')
      }
      bus.consume(
        Paid,
        inbox({ onDuplicate }).handler(() => undefined),
        { retry: { attempts: 1 } },
      )
      const id = uniqueName('id')
      await bus.publish(Paid, 1, { id })
      await bus.publish(Paid, 1, { id })
      await acks(2)
      expect(isInside).toBe(false)
      expect(warn).toHaveBeenCalledExactlyOnceWith(
        expect.stringContaining('onDuplicate of createInbox()'),
        expect.objectContaining({ code: 'BUSBAR_CALLBACK', detail: expect.stringContaining('disk full') }),
      )
      warn.mockRestore()
    })

    it('35: takes back what a failed attempt wrote and published, and the record of it', async () => {
      const name = `effect-${++effect}`
      const published: string[] = []
      bus.consume(
        Paid,
        inbox().handler(async (message, ctx) => {
          await database.addEffect(ctx.tx, name)
          for (let n = 0; n < 3; n++)
            published.push((await ctx.publish('orders.paid', n, { id: `${message.id}-${ctx.attempt}-${n}` })).id)
          if (ctx.attempt === 1) throw new Error('not yet')
        }),
        { retry: { attempts: 3, baseMs: 1 } },
      )
      const { id } = await bus.publish(Paid, 1)
      await acks(1)
      expect(await mine(name)).toBe(1)
      expect(published).toHaveLength(6)
      expect((await database.outbox()).filter((one) => one.startsWith(id))).toEqual(
        [0, 1, 2].map((n) => `${id}-2-${n}`),
      )
      expect(duplicates).toEqual([])
    })

    it('35: asks the record when the outcome of a commit is unknown, and uses no attempt', async () => {
      const name = `effect-${++effect}`
      let lost = 0
      // Commits, and loses the answer, once.
      const losing = createUnitOfWork<Tx>({
        async transaction(body, signal) {
          const result = await database.unitOfWork.run((tx) => body(tx), { signal })
          if (lost++ === 0) throw Object.assign(new Error('connection lost'), { code: 'ECONNRESET' })
          return result
        },
        savepoint: (tx, body) => body(tx),
        isRolledBack: () => false,
      })
      const attempts: number[] = []
      const handler = inbox({ unitOfWork: losing }).handler(async (_message, ctx) => {
        attempts.push(ctx.attempt)
        await database.addEffect(ctx.tx, name)
      })
      bus.consume(Paid, handler, { retry: { attempts: 1 } })
      const { id } = await bus.publish(Paid, 1)
      await acks(1)
      expect(attempts).toEqual([1])
      expect(await mine(name)).toBe(1)
      expect(duplicates).toEqual([id])
    })

    it('36: handles a redriven dead letter, skips a handled one, and handles what was forgotten again', async () => {
      const name = `effect-${++effect}`
      let isDown = true
      const handler = inbox().handler(async (_message, ctx) => {
        await database.addEffect(ctx.tx, name)
        if (isDown) ctx.reject('down')
      })
      bus.consume(Paid, handler, { group: 'g' })
      const dead = bus.events.once('deadLetter')
      const { id } = await bus.publish(Paid, 1)
      await dead
      expect(await mine(name)).toBe(0)
      isDown = false
      const letters = bus.deadLetters(Paid, 'g')
      await letters.redrive()
      await acks(1)
      expect(await mine(name)).toBe(1)
      await bus.publish(Paid, 1, { id })
      await acks(2)
      expect(duplicates).toEqual([id])
      expect(await database.store.forget({ ids: ['another'] })).toBe(0)
      expect(await database.store.forget({ consumer: `g ${Paid.topic}`, ids: [id] })).toBe(1)
      await bus.publish(Paid, 1, { id })
      await acks(3)
      expect(await mine(name)).toBe(2)
    })

    it('forgets what is expired, and deletes it in batches', async () => {
      const name = `effect-${++effect}`
      bus.consume(
        Paid,
        inbox({ ttlMs: 1 }).handler((_message, ctx) => database.addEffect(ctx.tx, name)),
      )
      const id = uniqueName('id')
      await bus.publish(Paid, 1, { id })
      await acks(1)
      await waitUntil(async () => (await database.store.stats()).expired > 0)
      await bus.publish(Paid, 1, { id })
      await acks(2)
      expect(await mine(name)).toBe(2)
      await waitUntil(async () => (await database.store.stats()).expired > 0)
      expect(await database.store.purge(1)).toBe(1)
      expect((await database.store.stats()).expired).toBe(0)
    })

    it('has a key for other services that is the same for all attempts', async () => {
      const keys: string[] = []
      bus.consume(
        Paid,
        (message, ctx) => {
          keys.push(idempotencyKey(message, ctx), idempotencyKey(message, ctx, 'second call'))
          if (ctx.attempt === 1) throw new Error('not yet')
        },
        { retry: { attempts: 2, baseMs: 1 } },
      )
      await bus.publish(Paid, 1)
      await acks(1)
      expect(keys[2]).toBe(keys[0])
      expect(new Set(keys).size).toBe(2)
    })
  })
}
