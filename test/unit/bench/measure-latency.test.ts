import { expect, test } from 'vitest'
import { measureLatency } from '../../../bench/harness/measure-latency.ts'

test('counts what a blocked event loop delays before it is sent', async () => {
  const blockedMs = 80
  const { extra } = await measureLatency({ measureMs: 100 }, (run) =>
    Promise.resolve((index) => {
      run.arrived(index)
      if (index !== 1_010) return
      for (const end = performance.now() + blockedMs; performance.now() < end;);
    }),
  )
  // Of the 100 messages that count, 80 were due while nothing could be sent.
  expect(extra?.['p50Ms']).toBeGreaterThan(blockedMs / 4)
})
