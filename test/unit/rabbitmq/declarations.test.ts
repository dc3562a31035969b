import assert from 'node:assert/strict'
import { test } from 'vitest'
import { manualClock } from 'busbar/testing'
import { Declarations } from '../../../src/transports/rabbitmq/declarations.ts'
import type { DeclarationsParts } from '../../../src/transports/rabbitmq/declarations.ts'
import { Names } from '../../../src/transports/rabbitmq/names.ts'
import { resolveRabbitMqOptions } from '../../../src/transports/rabbitmq/options.ts'
import { fakeSession } from './fake-channel.ts'

const RUNG = 3

test('a queue that is made while the connection ends is as young for the next one', async () => {
  const clock = manualClock()
  const parts: Partial<DeclarationsParts> = {
    options: resolveRabbitMqOptions({}),
    names: new Names('busbar'),
    clock,
    onDrift: () => undefined,
  }
  const declarations = new Declarations(parts as DeclarationsParts)
  const [first, second] = [fakeSession(), fakeSession()]
  first.missing.add(`busbar.delay.${RUNG}`)
  // The broker has made the queue, and the connection ends before all is done.
  first.failing.add('bindQueue')
  await assert.rejects(declarations.delay(first.session, RUNG) ?? Promise.resolve(), /the connection ended/)
  await declarations.delay(second.session, RUNG)
  assert.equal(declarations.youngForMs(), 700)
  await clock.advance(700)
  assert.equal(declarations.youngForMs(), 0)
})

test('a group that may not be bound fails with the refusal, not with the end of its channel', async () => {
  const parts: Partial<DeclarationsParts> = {
    options: resolveRabbitMqOptions({}),
    names: new Names('busbar'),
    clock: manualClock(),
  }
  const declarations = new Declarations(parts as DeclarationsParts)
  const { session, refusing } = fakeSession()
  const text = "ACCESS_REFUSED - write access to queue 'busbar:orders:mail' refused"
  refusing.set('bindQueue', Object.assign(new Error(text), { code: 403 }))
  const layout = { order: 'none', partitions: 1 } as const
  const declared = declarations.group(session, { topic: 'orders', group: 'mail', layout, options: undefined })
  await assert.rejects(declared, { message: text, code: 403 })
})
