import assert from 'node:assert/strict'
import { manualClock } from 'busbar/testing'
import { test } from 'vitest'
import { BindingRenewal } from '../../../src/transports/rabbitmq/topology/binding-renewal.ts'

test('groups take turns, and their number does not change how often something is asked', async () => {
  const clock = manualClock()
  const renewed: string[] = []
  const group = (name: string, bindings: number) => ({
    renewBindings: async () => {
      renewed.push(name)
      return bindings
    },
  })
  const errors: unknown[] = []
  const failing = { renewBindings: () => Promise.reject(new Error('no')) }
  const groups = new Set([group('a', 5), group('b', 5), failing])
  const renewal = new BindingRenewal(
    clock,
    () => groups,
    (error) => void errors.push(error),
  )
  renewal.start()
  renewal.start()
  await clock.advance(5_000)
  assert.deepEqual(renewed, ['a'])
  await clock.advance(14_000)
  assert.deepEqual(renewed, ['a', 'b'])
  await clock.advance(14_000)
  assert.equal(errors.length, 1)
  await clock.advance(5_000)
  assert.deepEqual(renewed, ['a', 'b', 'a'])
  renewal.stop()
  await clock.advance(600_000)
  assert.equal(renewed.length, 3)
  assert.equal(clock.pending, 0)
})
