import { once } from 'node:events'
import { expect, it } from 'vitest'
import { systemClock } from '../../../src/kafka/network/clock.ts'

it('a timer that is due already fires, without a warning of Node', async () => {
  const warned = once(process, 'warning', { signal: AbortSignal.timeout(2_000) }).then(
    ([warning]) => warning as unknown,
  )
  const fired = new Promise<string>((resolve) => systemClock.setTimer(() => resolve('fired'), -44))
  expect(await fired).toBe('fired')
  // A warning that is emitted after whatever the timer has caused: it must be the first.
  process.emitWarning('the last')
  expect(await warned).toMatchObject({ message: 'the last' })
})
