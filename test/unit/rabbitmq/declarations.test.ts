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
