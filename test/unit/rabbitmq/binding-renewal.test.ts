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

test('while every renewal fails, the pauses between them grow; a success ends that', async () => {
  const clock = manualClock()
  let isRefused = true
  const times: number[] = []
  const group = {
    renewBindings: async () => {
      times.push(clock.now() / 1_000 - start)
      if (isRefused) throw new Error('ACCESS_REFUSED')
      return 0
    },
  }
  const start = clock.now() / 1_000
  const renewal = new BindingRenewal(
    clock,
    () => [group],
    () => undefined,
  )
  renewal.start()
  for (let passed = 0; passed < 1_300; passed++) await clock.advance(1_000)
  assert.deepEqual(times, [5, 10, 20, 40, 80, 160, 320, 620, 920, 1220])
  isRefused = false
  for (let passed = 0; passed < 300; passed++) await clock.advance(1_000)
  assert.deepEqual(times.slice(10, 13), [1520, 1525, 1530])
  renewal.stop()
})

test('a group that is always refused is asked ever more rarely, whatever the others do; at once after a reconnect', async () => {
  for (const bindings of [0, 5]) {
    const clock = manualClock()
    const start = clock.now()
    /** When it was asked. */
    const asked: number[] = []
    let renewals = 0
    const refused = {
      renewBindings: async () => {
        asked.push(clock.now() - start)
        throw new Error('ACCESS_REFUSED')
      },
    }
    const other = {
      renewBindings: async () => {
        renewals++
        return bindings
      },
    }
    const renewal = new BindingRenewal(
      clock,
      () => [other, refused],
      () => undefined,
    )
    renewal.start()
    while (clock.now() - start < 3_600_000) await clock.advance(1_000)
    // 7 until the pauses are 5 min long, then 11 in the rest of the hour.
    assert.ok(asked.length >= 15 && asked.length <= 18, `asked ${asked.length} times in an hour`)
    assert.ok(renewals > 200, `the other one ${renewals} times`)
    for (const count = asked.length; asked.length === count;) await clock.advance(1_000)
    const before = asked.length
    renewal.start()
    for (let passed = 0; passed < 30; passed++) await clock.advance(1_000)
    assert.ok(asked.length > before, 'not asked soon after a reconnect')
    renewal.stop()
  }
})
