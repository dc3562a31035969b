import Redis from 'ioredis'
import { createClient } from 'redis'
import * as vitest from 'vitest'
import { dedupeStoreContract, uniqueName } from 'busbar/testing'
import { redisDedupeStore } from 'busbar/stores/redis'
import { brokerUrl } from '../../tools/brokers/index.ts'

const { describe, expect, it } = vitest
const url = await brokerUrl('redis')
const client = await createClient({ url }).connect()
const io = new Redis.Redis(url)
const prefix = `${uniqueName('dedupe')}:`

vitest.afterAll(() => {
  client.destroy()
  io.disconnect()
})

dedupeStoreContract(vitest, { name: 'redis, with node-redis', create: () => redisDedupeStore({ client, prefix }) })
dedupeStoreContract(vitest, { name: 'redis, with ioredis', create: () => redisDedupeStore({ client: io, prefix }) })

describe('redisDedupeStore', () => {
  it.each([
    ['node-redis', client],
    ['ioredis', io],
  ])('works with a server that forgot its scripts, through %s', async (_, given) => {
    const store = redisDedupeStore({ client: given, prefix })
    await client.sendCommand(['SCRIPT', 'FLUSH'])
    const key = uniqueName('key')
    const claim = await store.claim(key, 60_000)
    expect(claim.status).toBe('claimed')
    expect(await store.complete(key, claim.status === 'claimed' ? claim.token : '', 60_000)).toBe(true)
    expect(await store.claim(key, 60_000)).toEqual({ status: 'done' })
  })

  it('leaves no key behind that does not expire', async () => {
    for await (const keys of client.scanIterator({ MATCH: `${prefix}*` }))
      for (const key of keys) expect(await client.pTTL(key), key).toBeGreaterThanOrEqual(0)
  })

  it('passes the errors of the server on', async () => {
    await client.hSet(`${prefix}hash`, 'a', 'b')
    await expect(redisDedupeStore({ client, prefix }).claim('hash', 1_000)).rejects.toThrow('WRONGTYPE')
    await client.del(`${prefix}hash`)
  })

  it('refuses what is no client', () => {
    expect(() => redisDedupeStore({ client: {} as never })).toThrow('must be a client or cluster of redis')
  })
})
