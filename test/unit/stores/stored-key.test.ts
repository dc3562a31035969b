import { expect, it } from 'vitest'
import { storedKey } from '../../../src/stores/stored-key.ts'

it('leaves keys as they are that every database can store', () => {
  for (const key of ['', 'billing orders.placed shop 1', 'é🧾中', 'x'.repeat(500)]) expect(storedKey(key)).toBe(key)
})

it('stores a hash of those that a database would refuse or change, and keeps them apart', () => {
  const keys = ['a\0b', 'a\0c', '\ud83e', '\uddfe', '\ud83e\ud83e', 'x'.repeat(501), 'x'.repeat(10_000)]
  const stored = keys.map(storedKey)
  for (const key of stored) expect(key).toMatch(/^sha256:[0-9a-f]{64}$/)
  expect(new Set(stored).size).toBe(keys.length)
  // In databases: it must not change.
  expect(storedKey('a\0b')).toBe('sha256:d06c13d806836ab3011b178376b23276469c411c1c199ec8fbfd3a4a5b2b95e3')
})
