import { createHash } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { BENCH_FOLDER } from './folders.ts'
import { runNpm } from './run-npm.ts'

const PEERS_FOLDER = join(BENCH_FOLDER, 'peers')
const STAMP = join(PEERS_FOLDER, 'node_modules', '.busbar-bench')

function readIfThere(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return ''
  }
}

/** Installs what we compare with, once for each state of its lock file. It is no part of the project's own install. */
export async function ensurePeers(): Promise<void> {
  const wanted = createHash('sha256')
    .update(readFileSync(join(PEERS_FOLDER, 'package-lock.json')))
    .digest('hex')
  if (readIfThere(STAMP) === wanted) return
  process.stderr.write('Installing the peers in bench/peers (once) ...\n')
  await runNpm(['ci', '--prefix', PEERS_FOLDER, '--no-audit', '--no-fund'], PEERS_FOLDER)
  writeFileSync(STAMP, wanted)
}

/** Version of an installed peer, for the report. */
export function peerVersions(): Readonly<Record<string, string>> {
  const manifest = JSON.parse(readFileSync(join(PEERS_FOLDER, 'package.json'), 'utf8')) as {
    dependencies: Readonly<Record<string, string>>
  }
  return manifest.dependencies
}
