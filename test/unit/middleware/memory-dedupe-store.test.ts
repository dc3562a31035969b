import * as vitest from 'vitest'
import { ConfigurationError } from '../../../src/core/errors.ts'
import { memoryDedupeStore } from '../../../src/stores/memory/index.ts'
import type { MemoryDedupeStoreOptions } from '../../../src/stores/memory/index.ts'
import { manualClock } from '../../../src/testing/manual-clock.ts'
import { seededRandom } from '../../../src/testing/random.ts'
import { dedupeStoreContract } from '../../../src/testing/store-contracts/dedupe-store-contract.ts'
import type { DedupeStore } from '../../../src/middleware/index.ts'

const { describe, expect, it } = vitest
const contractClock = manualClock()

dedupeStoreContract(vitest, {
  name: 'memory',
  shared: false,
  create: () => memoryDedupeStore({ clock: contractClock }),
  advance: (ms) => contractClock.advance(ms),
})

async function tokenOf(store: DedupeStore, key: string, leaseMs = 100): Promise<string> {
  const claim = await store.claim(key, leaseMs)
  if (claim.status !== 'claimed') throw new Error(`expected to claim ${key}, but it is ${claim.status}`)
  return claim.token
}

describe('memoryDedupeStore', () => {
  it('goes from free to claimed to done to free again', async () => {
    const clock = manualClock()
    const store = memoryDedupeStore({ clock })
    const token = await tokenOf(store, 'k')
    await clock.advance(30)
    expect(store.claim('k', 100)).toEqual({ status: 'in-progress', retryAfterMs: 70 })
    expect(store.complete('k', token, 1_000)).toBe(true)
    await clock.advance(999)
    expect(store.claim('k', 100)).toEqual({ status: 'done' })
    await clock.advance(1)
    expect(store.claim('k', 100)).toMatchObject({ status: 'claimed' })
  })

  it('frees a claim that is released, or whose lease has ended', async () => {
    const clock = manualClock()
    const store = memoryDedupeStore({ clock })
    store.release('k', await tokenOf(store, 'k'))
    const token = await tokenOf(store, 'k')
    await clock.advance(100)
    const next = await tokenOf(store, 'k')
    expect(next).not.toBe(token)
  })

  it('renews a lease from now on', async () => {
    const clock = manualClock()
    const store = memoryDedupeStore({ clock })
    const token = await tokenOf(store, 'k')
    await clock.advance(60)
    expect(store.renew('k', token, 100)).toBe(true)
    await clock.advance(99)
    expect(store.claim('k', 100)).toEqual({ status: 'in-progress', retryAfterMs: 1 })
  })

  it('refuses a token whose lease has ended, taken over or not', async () => {
    const clock = manualClock()
    const store = memoryDedupeStore({ clock })
    const old = await tokenOf(store, 'k')
    await clock.advance(100)
    expect(store.renew('k', old, 100)).toBe(false)
    expect(store.complete('k', old, 100)).toBe(false)
    const current = await tokenOf(store, 'k')
    expect(store.renew('k', old, 100)).toBe(false)
    expect(store.complete('k', old, 100)).toBe(false)
    store.release('k', old)
    expect(store.claim('k', 100)).toMatchObject({ status: 'in-progress' })
    expect(store.complete('k', current, 100)).toBe(true)
    expect(store.renew('k', current, 100)).toBe(false)
    store.release('k', current)
    expect(store.claim('k', 100)).toEqual({ status: 'done' })
    expect(store.renew('unknown', current, 100)).toBe(false)
  })

  it('notices no change of the wall clock', async () => {
    const clock = manualClock()
    const store = memoryDedupeStore({ clock })
    store.complete('k', await tokenOf(store, 'k'), 1_000)
    clock.jump(3_600_000)
    expect(store.claim('k', 100)).toEqual({ status: 'done' })
    clock.jump(-7_200_000)
    await clock.advance(1_000)
    expect(store.claim('k', 100)).toMatchObject({ status: 'claimed' })
  })

  it('forgets the one that was done first when it is full', async () => {
    const store = memoryDedupeStore({ maxEntries: 3, clock: manualClock() })
    const tokens = { a: await tokenOf(store, 'a'), b: await tokenOf(store, 'b') }
    store.complete('b', tokens.b, 1_000)
    store.complete('a', tokens.a, 1_000)
    await tokenOf(store, 'c')
    expect(store.size).toBe(3)
    await tokenOf(store, 'd')
    expect(store.size).toBe(3)
    expect(store.claim('a', 100)).toEqual({ status: 'done' })
    expect(store.claim('b', 100)).toMatchObject({ status: 'claimed' })
  })

  it('never forgets a claim whose lease runs, but does forget those whose lease has ended', async () => {
    const clock = manualClock()
    const store = memoryDedupeStore({ maxEntries: 2, clock })
    store.claim('long', 1_000)
    for (const key of ['a', 'b', 'c']) await tokenOf(store, key)
    expect(store.size).toBe(4)
    expect(store.claim('long', 100)).toMatchObject({ status: 'in-progress' })
    await clock.advance(100)
    await tokenOf(store, 'd')
    expect(store.size).toBe(2)
    expect(store.claim('long', 100)).toMatchObject({ status: 'in-progress' })
  })

  it('drops what has expired as it goes along', async () => {
    const clock = manualClock()
    const store = memoryDedupeStore({ clock })
    for (let key = 0; key < 100; key++) store.complete(`k${key}`, await tokenOf(store, `k${key}`), 1_000)
    for (let key = 0; key < 100; key++) await tokenOf(store, `abandoned${key}`)
    expect(store.size).toBe(200)
    await clock.advance(1_000)
    for (let key = 0; key < 100; key++) store.release(`n${key}`, await tokenOf(store, `n${key}`))
    expect(store.size).toBe(0)
  })

  it.each([[{ maxEntries: 0 }], [{ clock: {} }], [{ maxEntry: 1 }], [null]])('refuses %j', (options) => {
    expect(() => memoryDedupeStore(options as MemoryDedupeStoreOptions)).toThrow(ConfigurationError)
  })

  it.each(Array.from({ length: 30 }, (_, seed) => seed))(
    'agrees with a plain model of the contract (seed %i)',
    async (seed) => {
      const random = seededRandom(`store ${seed}`)
      const clock = manualClock()
      const store = memoryDedupeStore({ clock })
      const model = new Map<string, { done: boolean; token: string; until: number }>()
      const tokens: { readonly key: string; readonly token: string }[] = []
      for (let step = 0; step < 400; step++) {
        if (random.chance(0.2)) await clock.advance(random.integer(0, 50))
        const now = clock.monotonic()
        for (const [key, entry] of model) if (entry.until <= now) model.delete(key)
        const key = random.pick(['a', 'b', 'c'])
        const ms = random.integer(1, 100)
        if (random.chance(0.4) || tokens.length === 0) {
          const known = model.get(key)
          const claim = store.claim(key, ms)
          if (known === undefined) {
            if (!('token' in claim)) throw new Error(`step ${step}: ${key} should be free`)
            expect(tokens.some((other) => other.token === claim.token)).toBe(false)
            model.set(key, { done: false, token: claim.token, until: now + ms })
            tokens.push({ key, token: claim.token })
          } else
            expect(claim).toEqual(
              known.done ? { status: 'done' } : { status: 'in-progress', retryAfterMs: known.until - now },
            )
          continue
        }
        const used = random.pick(tokens.slice(-6))
        const entry = model.get(used.key)
        const ours = entry !== undefined && !entry.done && entry.token === used.token
        const act = random.pick(['renew', 'complete', 'release'] as const)
        if (act === 'release') {
          store.release(used.key, used.token)
          if (ours) model.delete(used.key)
        } else {
          expect(store[act](used.key, used.token, ms)).toBe(ours)
          if (ours) model.set(used.key, { done: act === 'complete', token: used.token, until: now + ms })
        }
      }
    },
  )
})
