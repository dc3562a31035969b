import { createHash } from 'node:crypto'
import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { chmod, mkdtemp, readdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { aptInstall } from './apt.ts'
import { BrokerError } from './errors.ts'
import { exec, tail, which } from './exec.ts'
import { withLock } from './lock.ts'
import { notice } from './notice.ts'
import { cacheDir } from './paths.ts'
import type { BrokerName } from './types.ts'

/** From here on, Go fetches the toolchain that a go.mod names by itself. */
const FIRST_WITH_TOOLCHAINS = 21
/** What an older Go is made to fetch; it satisfies our go.mod files. */
const TOOLCHAIN = '1.26.0'
const BUILD_MS = 10 * 60_000

export function installedGo(): string | undefined {
  return which('go', ['/usr/local/go/bin'])
}

/**
 * Builds the program of a folder with a go.mod, once for each state of its files, and resolves with its path. `broker` is
 * what needs it, for messages.
 */
export async function goBuild(broker: BrokerName, folder: string, name: string): Promise<string> {
  const digest = createHash('sha256')
  for (const file of readdirSync(folder).toSorted()) digest.update(`${file}\n`).update(readFileSync(join(folder, file)))
  const dir = cacheDir(name, digest.digest('hex').slice(0, 12))
  const program = join(dir, name)
  if (existsSync(program)) return program
  return withLock(`go-${name}`, async () => {
    if (existsSync(program)) return program
    const go = await goProgram(broker)
    notice(`building ${name} with Go`)
    const draft = await mkdtemp(join(dir, 'build-'))
    try {
      const result = await exec(go, ['build', '-o', join(draft, name), '.'], {
        cwd: folder,
        env: { ...process.env, CGO_ENABLED: '0', GOTOOLCHAIN: 'auto', GOWORK: 'off' },
        timeoutMs: BUILD_MS,
      })
      if (result.code !== 0) {
        throw new BrokerError('install-failed', broker, `go build of ${name} failed:\n${tail(result.stderr)}`)
      }
      await rename(join(draft, name), program)
      return program
    } finally {
      await rm(draft, { recursive: true, force: true })
    }
  })
}

/** The installed Go, or Debian's. */
async function goProgram(broker: BrokerName): Promise<string> {
  if (installedGo() === undefined) await aptInstall(broker, ['golang-go'])
  const go = installedGo()
  if (go === undefined) throw new BrokerError('missing', broker, `needs Go 1.${FIRST_WITH_TOOLCHAINS} or newer`)
  const { stdout } = await exec(go, ['version'])
  const minor = Number(/go1\.(\d+)/.exec(stdout)?.[1] ?? 0)
  return minor >= FIRST_WITH_TOOLCHAINS ? go : newerGo(broker, go)
}

/** Toolchains are published as modules, which an older Go can download but not run: that takes the right to execute. */
async function newerGo(broker: BrokerName, go: string): Promise<string> {
  const arch = process.arch === 'x64' ? 'amd64' : process.arch
  const module = `golang.org/toolchain@v0.0.1-go${TOOLCHAIN}.${process.platform}-${arch}`
  notice(`fetching Go ${TOOLCHAIN}`)
  const result = await exec(go, ['mod', 'download', '-json', module], { cwd: cacheDir(), timeoutMs: BUILD_MS })
  if (result.code !== 0) {
    throw new BrokerError('install-failed', broker, `go mod download ${module} failed:\n${tail(result.stdout)}`)
  }
  const { Dir: dir } = JSON.parse(result.stdout) as { readonly Dir: string }
  const bin = join(dir, 'bin')
  const tools = join(dir, 'pkg', 'tool', `${process.platform}_${arch}`)
  for (const folder of [bin, tools]) {
    for (const file of await readdir(folder)) await chmod(join(folder, file), 0o755)
  }
  return join(bin, 'go')
}
