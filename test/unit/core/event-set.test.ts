import { afterEach, describe, expect, it } from 'vitest'
import { ConfigurationError, createBus, defineEvent, defineEvents, isEvent } from 'busbar'
import type { BatchConsumeOptions, Bus, Message, OutgoingMessage, StandardSchema } from 'busbar'
import { memory } from 'busbar/memory'
import { waitUntil } from 'busbar/testing'
import { delivery, StubTransport } from './stub-transport.ts'
import type { StubDelivery } from './stub-transport.ts'

/** Accepts an object with this field, and marks it. */
function having<Field extends string>(field: Field): StandardSchema<Record<Field, number>, Record<Field, string>> {
  return {
    '~standard': {
      version: 1,
      vendor: 'test',
      validate: (data) =>
        field in (data as object)
          ? {
              value: { [field]: `${field} ${String((data as Record<Field, number>)[field])}` } as Record<Field, string>,
            }
          : { issues: [{ message: `has no ${field}` }] },
    },
  }
}

const PlacedV1 = defineEvent('orders.placed', having('total'))
const PlacedV2 = defineEvent('orders.placed', having('cents'), { version: 2 })
const Cancelled = defineEvent('orders.placed', having('reason'), { type: 'orders.cancelled' })
const Paid = defineEvent('orders.paid', having('by'))

const open: Bus[] = []
afterEach(async () => {
  await Promise.all(open.splice(0).map((bus) => bus.close({ timeoutMs: 0 })))
})

function busOf(): Bus {
  const bus = createBus({ service: 'test', transport: memory(), logger: false })
  open.push(bus)
  return bus
}

describe('several events of one consumer', () => {
  it.each<[string, boolean]>([
    ['a handler', false],
    ['a batch handler', true],
  ])('are validated each with its own schema, by topic, type and version, for %s', async (_, isBatch) => {
    const bus = busOf()
    const Orders = defineEvents('orders.*', [PlacedV1, PlacedV2, Cancelled, Paid])
    const seen: string[] = []
    const note = (message: Message): void => {
      if (isEvent(message, PlacedV1)) seen.push(message.data.total)
      else if (isEvent(message, PlacedV2)) seen.push(message.data.cents)
      else if (isEvent(message, Cancelled)) seen.push(message.data.reason)
      else if (isEvent(message, Paid)) seen.push(message.data.by)
    }
    if (isBatch)
      bus.consume(
        Orders,
        (messages) => {
          for (const message of messages) note(message)
        },
        {
          batch: { size: 9, timeoutMs: 1 },
        } satisfies BatchConsumeOptions,
      )
    else bus.consume(Orders, note)
    await bus.start()
    await bus.publish(PlacedV1, { total: 1 })
    await bus.publish(PlacedV2, { cents: 2 })
    await bus.publish(Cancelled, { reason: 3 })
    await bus.publish(Paid, { by: 4 })
    await waitUntil(() => seen.length === 4)
    expect(seen.sort()).toEqual(['by 4', 'cents 2', 'reason 3', 'total 1'])
  })

  it('dead-letter a message that is none of them, and say which they are', async () => {
    const bus = busOf()
    const seen: unknown[] = []
    bus.consume(defineEvents('orders.placed', [PlacedV1, Cancelled]), ({ data }) => void seen.push(data))
    await bus.start()
    await bus.publish(PlacedV2, { cents: 2 }, { id: 'newer' })
    const letters = bus.deadLetters('orders.placed')
    await waitUntil(async () => (await letters.list()).length === 1)
    expect(seen).toEqual([])
    expect((await letters.list())[0]).toMatchObject({
      reason: 'invalid',
      errorMessage:
        'Message newer on "orders.placed" has the type "orders.placed", version 2, and the consumer of "orders.placed" has no such event: it handles "orders.placed" version 1, "orders.cancelled" version 1',
    })
  })

  it.each<[string, boolean]>([
    ['a handler', false],
    ['a batch handler', true],
  ])('skip what is none of them if asked to, in its turn and before it is decoded, for %s', async (_, isBatch) => {
    const transport = new StubTransport()
    const bus = createBus({ service: 'test', transport, logger: false })
    open.push(bus)
    const seen: string[] = []
    const Some = defineEvents('orders.*', [PlacedV1, Paid], { others: 'skip' })
    const handle = isBatch
      ? bus.consume(Some, (messages) => void seen.push(...messages.map(({ id }) => id)), { batch: { size: 2 } })
      : bus.consume(Some, ({ id }) => void seen.push(id))
    await bus.start()
    const [broker] = transport.subscriptions
    expect(broker?.spec.events).toEqual([
      { topic: 'orders.placed', type: 'orders.placed', version: 1 },
      { topic: 'orders.paid', type: 'orders.paid', version: 1 },
    ])
    const of = (id: string, topic: string, more: Partial<OutgoingMessage> = {}): StubDelivery =>
      delivery(id, { topic, type: topic, key: 'k', ...more })
    broker?.deliver(
      of('a', 'orders.placed', { body: Buffer.from('{"total":1}') }),
      of('newer', 'orders.placed', { version: 2, body: Buffer.from('not JSON') }),
      of('other', 'orders.gone', { body: null }),
      of('typed', 'orders.paid', { type: 'orders.repaid' }),
      of('b', 'orders.paid', { version: 1, body: Buffer.from('{"by":1}') }),
    )
    await waitUntil(() => handle.stats().acked === 5)
    expect(seen).toEqual(['a', 'b'])
    // One that needs no handler need not wait for the batch that it would have been in.
    const outcomes = ['a ack', 'newer ack', 'other ack', 'typed ack', 'b ack']
    expect(isBatch ? broker?.outcomes().toSorted() : broker?.outcomes()).toEqual(
      isBatch ? outcomes.toSorted() : outcomes,
    )
    expect(handle.stats()).toMatchObject({ skipped: 3, handled: 2, unsettled: 0, deadLettered: 0 })
  })

  it('refuse an option that they do not have', () => {
    expect(() => defineEvents('orders.*', [Paid], { others: 'drop' as never })).toThrow(
      'others: must be one of "reject", "skip", got "drop"',
    )
  })

  it.each([
    ['no events', () => defineEvents('orders.*', []), 'events: must be a list of at least one event'],
    ['an event elsewhere', () => defineEvents('bills.*', [Paid]), 'events.0: "orders.paid" does not match "bills.*"'],
    ['twins', () => defineEvents('orders.*', [Paid, Paid]), 'events.1: has the topic, type and version of events.0'],
    [
      'something that is not an event',
      () => defineEvents('orders.*', ['orders.paid' as never]),
      'events.0: must be made by defineEvent',
    ],
    ['a bad pattern', () => defineEvents('orders.>.x', [Paid]), 'topic: has ">" before its end'],
  ])('refuse %s', (_, make, message) => {
    expect(make).toThrow(ConfigurationError)
    expect(make).toThrow(message)
  })
})

describe('an event', () => {
  it('has an owner and a visibility, for people and tools', () => {
    const Shared = defineEvent('shared', { owner: 'billing', visibility: 'public', description: 'what it means' })
    expect(Shared).toMatchObject({
      owner: 'billing',
      visibility: 'public',
      description: 'what it means',
      type: 'shared',
    })
    expect(defineEvent('shared')).toMatchObject({ owner: undefined, visibility: 'internal', version: 1 })
    expect(() => defineEvent('shared', { visibility: 'secret' as never })).toThrow('"internal", "public"')
  })
})
