// Takes out of package.json what is for a clone while npm packs, and puts the file back afterwards: the condition
// `busbar-source`, which reaches TypeScript sources that Node refuses to run below node_modules, and the scripts and tools, whose
// files are not in the package. Without the script `prepare`, npm does not build, so `prepack` does.

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
  for (const field of ['scripts', 'devDependencies', 'allowScripts']) delete packed[field]
  writeFileSync(manifest, `${JSON.stringify(packed, undefined, 2)}\n`)
}
