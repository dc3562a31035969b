import assert from 'node:assert/strict'
import type { DedupeClaim, DedupeStore } from '../../middleware/store.ts'
import type { StoreScenario, StoreTest } from './store-contract.ts'

/** Longer than any test takes. */
const LONG_MS = 60_000
/** Shorter than anything that a test does. */
const SHORT_MS = 5
/** Long enough for a few calls of a slow store, and short enough to wait for its end. */
const BRIEF_MS = 700

/** Keys that a careless store mixes up, cuts off, or can't store. */
const ODD_KEYS: readonly string[] = [
  'billing orders.placed orders.placed shop 1',
  'BILLING orders.placed orders.placed shop 1',
  'billing orders.placed orders.placed shop 1 ',
  'billing\torders.placed\norders.placed\r\nshop 1',
  'billing\0orders.placed',
  'billing\0orders.paid',
  'billing',
  "o'hara; DROP TABLE busbar_dedupe; --",
  '"quoted" `and` \\escaped\\ $1 ? :name {braces}',
  '100%',
  '100_',
  '100*',
  '/../%2e%2e/',
  'caf\u00e9',
  'cafe\u0301',
  'cafe',
  '\u{1f9fe}\u{1f69a}',
  '\u4e2d\u6587',
  '\u202eright-to-left',
  `${'x'.repeat(299)}a`,
  `${'x'.repeat(299)}b`,
  `${'\u{1f9fe}'.repeat(149)}ab`,
  `${'\u{1f9fe}'.repeat(149)}ac`,
]

async function claimed(store: DedupeStore, key: string, leaseMs: number): Promise<string> {
  const claim = await store.claim(key, leaseMs)
  assert.equal(claim.status, 'claimed', `the key must be free, but claim() returned ${JSON.stringify(claim)}`)
  assert.ok(typeof claim.token === 'string' && claim.token !== '', 'a claim must have a token')
  return claim.token
}

async function inProgress(store: DedupeStore, key: string): Promise<number> {
  const claim = await store.claim(key, LONG_MS)
  assert.equal(claim.status, 'in-progress', `the key must be claimed, but claim() returned ${JSON.stringify(claim)}`)
  return claim.retryAfterMs
}

async function isDone(store: DedupeStore, key: string): Promise<void> {
  assert.deepEqual(await store.claim(key, LONG_MS), { status: 'done' })
}

/** Claims a key whose lease or time to live is about to end. */
async function claimedInTheEnd(test: StoreTest<DedupeStore>, store: DedupeStore, key: string): Promise<string> {
  await test.pass(SHORT_MS)
  return test.until(async () => {
    const claim = await store.claim(key, LONG_MS)
    return claim.status === 'claimed' ? claim.token : undefined
  }, 'the key to become free')
}

/** Many claims at once, over several connections. */
async function claimTogether(test: StoreTest<DedupeStore>, key: string, count: number): Promise<void> {
  const stores = [await test.open(), await test.open(), await test.open(), await test.open()]
  const claims = await Promise.all(
    Array.from({ length: count }, async (_, index): Promise<DedupeClaim> => {
      const store = stores[index % stores.length] as DedupeStore
      return store.claim(key, LONG_MS)
    }),
  )
  const number = (status: DedupeClaim['status']): number => claims.filter((claim) => claim.status === status).length
  assert.deepEqual(
    { claimed: number('claimed'), inProgress: number('in-progress'), done: number('done') },
    { claimed: 1, inProgress: count - 1, done: 0 },
  )
}

/** What a holder that lost its claim may still try: nothing of it may have an effect. */
async function hasNoEffect(store: DedupeStore, key: string, token: string): Promise<void> {
  assert.equal(await store.renew(key, token, LONG_MS), false, 'renew() must return false')
  assert.equal(await store.complete(key, token, LONG_MS), false, 'complete() must return false')
  await store.release(key, token)
}

export const dedupeStoreScenarios: readonly StoreScenario<DedupeStore>[] = [
  {
    id: 'claim/held',
    title: 'a claimed key is in progress for others, and they learn for how long',
    async run(test) {
      const [store, other, key] = [await test.open(), await test.open(), test.key()]
      await claimed(store, key, LONG_MS)
      for (const each of [store, other]) {
        const left = await inProgress(each, key)
        assert.ok(left > LONG_MS / 2 && left <= LONG_MS, `of a lease of ${LONG_MS} ms, ${left} ms can't be left`)
      }
    },
  },
  {
    id: 'claim/one-winner',
    title: 'a thousand concurrent claims of one key have one winner',
    run: (test) => claimTogether(test, test.key(), 1_000),
  },
  {
    id: 'claim/one-heir',
    title: 'concurrent claims of a key whose lease has ended have one winner',
    async run(test) {
      const [store, key] = [await test.open(), test.key()]
      await claimed(store, key, SHORT_MS)
      await test.pass(SHORT_MS * 4)
      await claimTogether(test, key, 200)
    },
  },
  {
    id: 'claim/one-heir-of-done',
    title: 'concurrent claims of a key whose time to live has ended have one winner',
    async run(test) {
      const [store, key] = [await test.open(), test.key()]
      assert.equal(await store.complete(key, await claimed(store, key, LONG_MS), SHORT_MS), true)
      await test.pass(SHORT_MS * 4)
      await claimTogether(test, key, 200)
    },
  },
  {
    id: 'claim/new-token',
    title: 'each claim has a new token',
    async run(test) {
      const [store, other, key] = [await test.open(), await test.open(), test.key()]
      const tokens = new Set<string>()
      for (let round = 0; round < 5; round++) {
        for (const each of [store, other]) {
          const token = await claimed(each, key, LONG_MS)
          tokens.add(token)
          await each.release(key, token)
        }
      }
      assert.equal(tokens.size, 10)
    },
  },
  {
    id: 'claim/odd-keys',
    title: 'keys with odd characters, and of 300 characters, are kept apart',
    async run(test) {
      const store = await test.open()
      const prefix = `${test.key()} `
      const held = new Map<string, string>()
      for (const odd of ODD_KEYS) held.set(odd, await claimed(store, prefix + odd, LONG_MS))
      for (const [index, odd] of ODD_KEYS.entries())
        if (index % 2 === 0) assert.equal(await store.complete(prefix + odd, held.get(odd) ?? '', LONG_MS), true)
      for (const [index, odd] of ODD_KEYS.entries())
        await (index % 2 === 0 ? isDone(store, prefix + odd) : inProgress(store, prefix + odd))
    },
  },
  {
    id: 'lease/ends',
    title: 'a lease ends, and the next caller gets the key',
    async run(test) {
      const [store, other, key] = [await test.open(), await test.open(), test.key()]
      const first = await claimed(store, key, SHORT_MS)
      assert.notEqual(await claimedInTheEnd(test, other, key), first)
    },
  },
  {
    id: 'lease/clock',
    title: 'leases end by the clock of the store, whatever the clock of the client says',
    sharedOnly: true,
    async run(test) {
      const [store, other, key] = [await test.open(), await test.open(), test.key()]
      await claimed(store, key, LONG_MS)
      const now = Date.now
      try {
        Date.now = () => now() + 2 * LONG_MS
        const left = await inProgress(other, key)
        assert.ok(left > LONG_MS / 2, `a client whose clock is ahead must not take ${left} ms for what is left`)
      } finally {
        Date.now = now
      }
    },
  },
  {
    id: 'renew/extends',
    title: 'renew makes the lease end that much later from now on',
    async run(test) {
      const [store, other, key] = [await test.open(), await test.open(), test.key()]
      const token = await claimed(store, key, LONG_MS)
      assert.equal(await store.renew(key, token, LONG_MS * 10), true)
      const left = await inProgress(other, key)
      assert.ok(left > LONG_MS * 5 && left <= LONG_MS * 10, `after the renewal, ${left} ms are left`)
    },
  },
  {
    id: 'renew/shortens',
    title: 'renew with a shorter time makes the lease end sooner',
    async run(test) {
      const [store, other, key] = [await test.open(), await test.open(), test.key()]
      assert.equal(await store.renew(key, await claimed(store, key, LONG_MS), SHORT_MS), true)
      await claimedInTheEnd(test, other, key)
    },
  },
  {
    id: 'complete/done',
    title: 'a completed key is done for its time to live, beyond the end of the lease',
    async run(test) {
      const [store, other, key] = [await test.open(), await test.open(), test.key()]
      assert.equal(await store.complete(key, await claimed(store, key, BRIEF_MS), LONG_MS), true)
      await isDone(store, key)
      await test.pass(BRIEF_MS + 50)
      await isDone(other, key)
    },
  },
  {
    id: 'complete/ends',
    title: 'a completed key is free when its time to live has ended',
    async run(test) {
      const [store, other, key] = [await test.open(), await test.open(), test.key()]
      assert.equal(await store.complete(key, await claimed(store, key, LONG_MS), SHORT_MS), true)
      await claimedInTheEnd(test, other, key)
    },
  },
  {
    id: 'release/free',
    title: 'a released key is free at once',
    async run(test) {
      const [store, other, key] = [await test.open(), await test.open(), test.key()]
      const token = await claimed(store, key, LONG_MS)
      await store.release(key, token)
      await claimed(other, key, LONG_MS)
    },
  },
  {
    id: 'fence/wrong-token',
    title: 'a token that is not the one of the claim has no effect',
    async run(test) {
      const [store, key, elsewhere] = [await test.open(), test.key(), test.key()]
      await claimed(store, key, LONG_MS)
      await hasNoEffect(store, key, await claimed(store, elsewhere, LONG_MS))
      await hasNoEffect(store, key, 'no token')
      const left = await inProgress(store, key)
      assert.ok(left <= LONG_MS)
    },
  },
  {
    id: 'fence/unknown-key',
    title: 'a key that is not claimed can be neither renewed nor completed',
    async run(test) {
      const [store, key] = [await test.open(), test.key()]
      await hasNoEffect(store, key, await claimed(store, test.key(), LONG_MS))
      await claimed(store, key, LONG_MS)
    },
  },
  {
    id: 'fence/ended',
    title: 'a holder whose lease has ended can neither renew nor complete, even if no other caller came',
    async run(test) {
      const [store, key] = [await test.open(), test.key()]
      const token = await claimed(store, key, SHORT_MS)
      await test.pass(SHORT_MS * 10)
      await hasNoEffect(store, key, token)
      await claimed(store, key, LONG_MS)
    },
  },
  {
    id: 'fence/taken-over',
    title: 'a holder whose lease was taken over cannot affect the new holder',
    async run(test) {
      const [store, other, key] = [await test.open(), await test.open(), test.key()]
      const old = await claimed(store, key, SHORT_MS)
      const token = await claimedInTheEnd(test, other, key)
      await hasNoEffect(store, key, old)
      await inProgress(store, key)
      assert.equal(await other.complete(key, token, LONG_MS), true)
      await hasNoEffect(store, key, old)
      await isDone(store, key)
    },
  },
  {
    id: 'fence/used',
    title: 'a token is of no use after complete and after release',
    async run(test) {
      const [store, key, free] = [await test.open(), test.key(), test.key()]
      const token = await claimed(store, key, LONG_MS)
      await store.complete(key, token, LONG_MS)
      await hasNoEffect(store, key, token)
      await isDone(store, key)
      const released = await claimed(store, free, LONG_MS)
      await store.release(free, released)
      await hasNoEffect(store, free, released)
      await claimed(store, free, LONG_MS)
    },
  },
  {
    id: 'keep/reopened',
    title: 'claims and done keys outlive the connection that made them',
    sharedOnly: true,
    async run(test) {
      const [done, held] = [test.key(), test.key()]
      const first = await test.open()
      assert.equal(await first.complete(done, await claimed(first, done, LONG_MS), LONG_MS), true)
      const token = await claimed(first, held, LONG_MS)
      await test.close(first)
      const second = await test.open()
      await isDone(second, done)
      await inProgress(second, held)
      // The token proves the claim, not the connection.
      assert.equal(await second.renew(held, token, LONG_MS), true)
    },
  },
]
