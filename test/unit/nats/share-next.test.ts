import assert from 'node:assert/strict'
import { test } from 'vitest'
import { shareNext } from '../../../src/transports/nats/jetstream/server/share-next.ts'

test('calls during a run share the next one, which begins when that has ended, however it ends', async () => {
  const runs: PromiseWithResolvers<number>[] = []
  const share = shareNext(() => {
    const run = Promise.withResolvers<number>()
    runs.push(run)
    return run.promise
  })
  const first = share()
  const [second, third] = [share(), share()]
  assert.equal(runs.length, 1)
  runs[0]?.reject(new Error('no'))
  await assert.rejects(first, /no/)
  await Promise.resolve()
  assert.equal(runs.length, 2)
  const fourth = share()
  runs[1]?.resolve(2)
  assert.deepEqual(await Promise.all([second, third]), [2, 2])
  runs[2]?.resolve(3)
  assert.equal(await fourth, 3)
  const fifth = share()
  runs[3]?.resolve(4)
  assert.equal(await fifth, 4)
})

test('a caller that calls again as soon as it has its answer shares the run that is next', async () => {
  const runs: PromiseWithResolvers<number>[] = []
  const share = shareNext(() => {
    const run = Promise.withResolvers<number>()
    runs.push(run)
    return run.promise
  })
  const again = share().then(() => share())
  const second = share()
  runs[0]?.resolve(1)
  await new Promise((resolve) => {
    setImmediate(resolve)
  })
  assert.equal(runs.length, 2)
  runs[1]?.resolve(2)
  assert.deepEqual(await Promise.all([again, second]), [2, 2])
})
