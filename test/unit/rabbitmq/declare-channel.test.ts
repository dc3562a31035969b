import assert from 'node:assert/strict'
import { test } from 'vitest'
import { DeclareChannel } from '../../../src/transports/rabbitmq/topology/declare-channel.ts'
import { fakeSession } from './fake-channel.ts'

test('an operation that is refused does not end the one that was asked for beside it', async () => {
  const { live, channels } = fakeSession()
  const declaring = new DeclareChannel(live)
  const refusal = Object.assign(new Error('NOT_FOUND - no queue'), { code: 404 })
  const refused = declaring.run(async () => {
    await Promise.resolve()
    channels[0]?.emit('close', refusal)
    throw refusal
  })
  const beside = declaring.run(async (channel) => {
    const { promise, reject } = Promise.withResolvers<never>()
    channel.on('close', () => reject(new Error('Channel ended, no reply will be forthcoming')))
    await Promise.race([promise, new Promise(setImmediate)])
    return 'done'
  })
  await assert.rejects(refused, refusal)
  assert.equal(await beside, 'done')
  await declaring.close()
})

test('nothing begins after the end', async () => {
  const { live, channels } = fakeSession()
  const declaring = new DeclareChannel(live)
  const stuck = declaring.run(
    (channel) => new Promise<never>((_, reject) => channel.on('close', () => reject(new Error('channel closed')))),
  )
  const waiting = declaring.run(() => Promise.resolve())
  const refused = [stuck, waiting].map((each) => assert.rejects(each))
  await new Promise(setImmediate)
  await declaring.close()
  await Promise.all(refused)
  await assert.rejects(declaring.run(() => Promise.resolve()))
  assert.equal(channels.length, 1)
})
