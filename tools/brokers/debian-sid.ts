import { existsSync } from 'node:fs'
import { mkdtemp, readdir, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { aptInstall } from './apt.ts'
import { BrokerError, howToGet } from './errors.ts'
import { exec, tail, which } from './exec.ts'
import { withLock } from './lock.ts'
import { notice } from './notice.ts'
import { cacheDir } from './paths.ts'
import type { BrokerName } from './types.ts'

const DEFAULT_MIRROR = 'http://deb.debian.org/debian'
const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg'

export interface SidRequest {
  readonly broker: BrokerName
  /** What is to be had, for messages: `RabbitMQ 4`. */
  readonly what: string
  /** Name of its folder in the cache. */
  readonly folder: string
  readonly packages: readonly string[]
  /** Why the new Debian does not have what was asked for, if so. */
  readonly problem?: (root: string) => Promise<string | undefined>
}

/**
 * A small Debian sid with these packages in the cache, created once with debootstrap. Its programs run in a separate mount
 * namespace (`enterScript`), so no mount is left behind, however they end. All of that needs root.
 */
export async function debianSid(request: SidRequest): Promise<string> {
  const { broker, what } = request
  const needed = ['unshare', 'mount', 'chroot'].filter((program) => which(program) === undefined)
  if (process.platform !== 'linux' || process.getuid?.() !== 0 || needed.length > 0) {
    const missing = needed.length > 0 ? ` with ${needed.join(', ')}` : ''
    throw new BrokerError(
      'missing',
      broker,
      `${what} from Debian sid needs root on Linux${missing}; ${howToGet(broker)}`,
    )
  }
  const folder = cacheDir(request.folder)
  const root = join(folder, 'root')
  if (!existsSync(root)) await withLock('build', () => build(request, folder, root), folder)
  return root
}

async function build(request: SidRequest, folder: string, root: string): Promise<void> {
  if (existsSync(root)) return
  const { broker, what } = request
  const fail = (why: string, output: string): never => {
    throw new BrokerError('install-failed', broker, `${why}; ${howToGet(broker)}\n${tail(output, 6)}`)
  }
  const packages = [
    ...(which('debootstrap') === undefined ? ['debootstrap'] : []),
    ...(existsSync(KEYRING) ? [] : ['debian-archive-keyring']),
  ]
  if (packages.length > 0) await aptInstall(broker, packages)
  // Left by an interrupted run; nothing is mounted there, since its mounts ended with it.
  const left = (await readdir(folder)).filter((name) => name.startsWith('draft-'))
  for (const name of left) await rm(join(folder, name), { recursive: true, force: true })
  const mirror = await debianMirror()
  notice(`fetching ${what} from Debian sid (${mirror}); this takes a minute or two`)
  const draft = await mkdtemp(join(folder, 'draft-'))
  try {
    const include = `--include=${request.packages.join(',')}`
    const debootstrap = ['debootstrap', '--variant=minbase', include, 'sid', draft, mirror]
    const env = { ...process.env, PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/usr/bin:/sbin:/bin` }
    const result = await exec('unshare', ['--mount', ...debootstrap], { env, timeoutMs: 20 * 60_000 })
    if (result.code !== 0) fail('debootstrap failed', `${result.stdout}\n${result.stderr}`)
    const problem = await request.problem?.(draft)
    if (problem !== undefined) fail(`Debian sid has no ${what}`, problem)
    // Filled by a bind mount of the host's.
    await writeFile(join(draft, 'etc/hosts'), '')
    for (const name of ['var/cache/apt', 'var/lib/apt/lists'])
      await rm(join(draft, name), { recursive: true, force: true })
    await rename(draft, root)
  } finally {
    await rm(draft, { recursive: true, force: true })
  }
}

/** The mirror that apt uses for Debian; on another distribution, Debian's own. */
async function debianMirror(): Promise<string> {
  const filter = ['Created-By: Packages', 'Origin: Debian', 'Label: Debian', 'Component: main']
  const { code, stdout } = await exec('apt-get', ['indextargets', '--format', '$(REPO_URI)', ...filter])
  const found = stdout.split('\n').find((line) => /^https?:/.test(line))
  return code === 0 && found !== undefined ? found : DEFAULT_MIRROR
}

/**
 * Runs a program of that Debian. Its root is assembled in memory: `/usr` and `/etc` of the Debian, the rest of the
 * host, and the data folder at its place. Every step execs the next one, so the pid that is started is the program's.
 */
export function enterScript(root: string, dataDir: string, program: string): string {
  return `#!/bin/sh
exec unshare --mount -- /bin/sh -euc '
  root=$1 data=$2 new=$1/mnt
  shift 2
  mount -t tmpfs -o mode=755 tmpfs "$new"
  mkdir "$new/usr" "$new/etc" "$new/proc" "$new/dev" "$new/var" "$new/root"
  mkdir -m 1777 "$new/tmp"
  for name in bin sbin lib lib64; do
    if [ -e "$root/$name" ]; then ln -s "usr/$name" "$new/$name"; fi
  done
  mount --bind "$root/usr" "$new/usr"
  mount --bind "$root/etc" "$new/etc"
  mount --bind /etc/hosts "$new/etc/hosts"
  mount --rbind /proc "$new/proc"
  mount --rbind /dev "$new/dev"
  mkdir -p "$new$data"
  mount --bind "$data" "$new$data"
  exec chroot "$new" "$@"
' sh '${quoted(root)}' '${quoted(dataDir)}' ${program} "$@"
`
}

/** Escapes a text for single quotes. */
function quoted(text: string): string {
  return text.replaceAll("'", `'\\''`)
}
