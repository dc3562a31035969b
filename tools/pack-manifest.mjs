// Takes the condition `busbar-source` out of package.json while npm packs, and puts the file back afterwards. The condition
// reaches the TypeScript sources of a clone; Node refuses to run TypeScript below node_modules.

import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const manifest = join(root, 'package.json')
const kept = join(root, 'package.json.kept')

if (process.argv.includes('--restore')) {
  if (existsSync(kept)) renameSync(kept, manifest)
} else {
  // One that is there is of a run that was interrupted: it is the real one.
  const text = readFileSync(existsSync(kept) ? kept : manifest, 'utf8')
  writeFileSync(kept, text)
  const packed = JSON.parse(text)
  for (const entry of Object.values(packed.exports)) if (typeof entry === 'object') delete entry['busbar-source']
  writeFileSync(manifest, `${JSON.stringify(packed, undefined, 2)}\n`)
}
