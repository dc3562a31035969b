import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'

it.each([
  ['.', 50],
  ['bench/peers', 50],
  ['test/peers', 50],
  ['test/database-libraries', 20],
  ['site', 50],
])('the lock file in %s holds no address of a registry', (folder, least) => {
  // It is for all, whichever registry they use.
  const text = readFileSync(join(import.meta.dirname, '../..', folder, 'package-lock.json'), 'utf8')
  const { packages } = JSON.parse(text) as { packages: Record<string, Record<string, unknown>> }
  const entries = Object.entries(packages)
  expect(entries.length).toBeGreaterThan(least)
  expect(entries.filter(([, entry]) => 'resolved' in entry && entry['link'] !== true).map(([path]) => path)).toEqual([])
  // Without one, nobody would notice that a registry hands out something else.
  const unchecked = entries.filter(
    ([path, entry]) => path.startsWith('node_modules/') && entry['link'] !== true && !('integrity' in entry),
  )
  expect(unchecked.map(([path]) => path)).toEqual([])
})
