import { sqliteDedupeStore } from 'busbar/stores/sqlite'

// Claims keys, and completes what it gets; prints the keys that it got.
const [, , path = '', count = '0'] = process.argv
const store = sqliteDedupeStore({ path })
const won: string[] = []
for (let index = 0; index < Number(count); index++) {
  const key = `key-${index}`
  const claim = await store.claim(key, 60_000)
  if (claim.status !== 'claimed') continue
  won.push(key)
  if (!(await store.complete(key, claim.token, 60_000))) throw new Error(`lost ${key}`)
}
store.close()
console.log(JSON.stringify(won))
