import assert from 'node:assert/strict'
import type { ConsumeMessage } from 'amqplib'
import { describe, test } from 'vitest'
import { ForeignIds, lastingId } from '../../../src/transports/rabbitmq/consume/foreign-ids.ts'

function message(body: string, redelivered = false): ConsumeMessage {
  return {
    content: Buffer.from(body),
    fields: { redelivered } as ConsumeMessage['fields'],
    properties: { headers: {} } as ConsumeMessage['properties'],
  }
}

describe('ids of messages without an id', () => {
  test('are the same in two groups of a bus, and never the same in two buses', () => {
    const [billing, mail, elsewhere] = [new ForeignIds('a1'), new ForeignIds('a1'), new ForeignIds('b2')]
    const idsOf = (ids: ForeignIds): string[] => ['x', 'x', 'y'].map((body) => ids.idOf(message(body)))
    const first = idsOf(billing)
    assert.deepEqual(idsOf(mail), first)
    assert.equal(new Set([...first, ...idsOf(elsewhere)]).size, 6)
  })

  test('are the same when the message comes back to the same bus', () => {
    const ids = new ForeignIds('a1')
    const [first, second] = [ids.idOf(message('x')), ids.idOf(message('x'))]
    ids.left(first)
    assert.equal(ids.idOf(message('x', true)), first)
    ids.left(second)
    assert.equal(ids.idOf(message('x', true)), second)
    assert.notEqual(ids.idOf(message('x')), first)
  })

  test('have a part by which another bus finds notes about the message', () => {
    const [here, there] = [new ForeignIds('a1'), new ForeignIds('b2')]
    assert.equal(lastingId(here.idOf(message('x'))), lastingId(there.idOf(message('x', true))))
    const [first, second] = [here.idOf(message('y')), here.idOf(message('y'))]
    assert.notEqual(lastingId(first), lastingId(second))
    for (const id of ['order-1', 'amqp-1', 'amqp-0123-4-5']) assert.equal(lastingId(id), id)
  })

  test('are not used again for a message that was long forgotten', () => {
    const ids = new ForeignIds('a1')
    const first = ids.idOf(message('x'))
    ids.left(first)
    for (let other = 0; other <= 10_000; other++) ids.left(ids.idOf(message(`${other}`)))
    assert.notEqual(ids.idOf(message('x')), first)
  })
})
