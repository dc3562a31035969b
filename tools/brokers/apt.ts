import { BrokerError, howToGet } from './errors.ts'
import { exec, tail, which } from './exec.ts'
import { withLock } from './lock.ts'
import { notice } from './notice.ts'
import type { BrokerName } from './types.ts'

// Packaged servers start at once and at every boot, on their default ports. policy-rc.d prevents the first; for the
// second, the units are disabled. Only packages that were missing are ever passed here, so none of the user's services
// is touched.
const SCRIPT = `
set -eu
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\\nexit 101\\n' > "$policy"
  chmod 755 "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -q || true
apt-get install -y -q --no-install-recommends -o DPkg::Lock::Timeout=300 "$@"
command -v systemctl > /dev/null || exit 0
for name in "$@"; do
  case "$name" in
    rabbitmq-server) units='rabbitmq-server.service epmd.service epmd.socket' ;;
    redis-server|nats-server|postgresql) units="$name.service" ;;
    *) units='' ;;
  esac
  for unit in $units; do systemctl disable "$unit" > /dev/null 2>&1 || true; done
done
`

/** Installs Debian packages, if this user may. `broker` is what needs them, for the message. */
export async function aptInstall(broker: BrokerName, packages: readonly string[]): Promise<void> {
  const prefix = await privilege()
  const list = packages.join(' ')
  if (prefix === undefined) {
    throw new BrokerError('missing', broker, `needs ${list}, which this user can't install. Either ${howToGet(broker)}`)
  }
  await withLock('apt', async () => {
    notice(`installing ${list}`)
    const [file = 'sh', ...args] = [...prefix, 'sh', '-c', SCRIPT, 'sh', ...packages]
    const result = await exec(file, args, { timeoutMs: 10 * 60_000 })
    if (result.code === 0) return
    const output = tail(`${result.stdout}\n${result.stderr}`, 6)
    throw new BrokerError('install-failed', broker, `apt-get install ${list} failed; ${howToGet(broker)}\n${output}`)
  })
}

/** What to put before a command that needs root: nothing, sudo, or undefined when there is no way. */
async function privilege(): Promise<readonly string[] | undefined> {
  if (process.env['BUSBAR_BROKERS_INSTALL'] === 'never' || which('apt-get') === undefined) return undefined
  if (process.getuid?.() === 0) return []
  const sudo = which('sudo')
  if (sudo === undefined || (await exec(sudo, ['-n', 'true'])).code !== 0) return undefined
  return [sudo, '-n']
}
