import { randomBytes } from 'node:crypto'
import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { BrokerError } from './errors.ts'
import { tellGuard } from './guard.ts'
import { runDir } from './paths.ts'
import { freePort } from './ports.ts'
import { openInstance, prepare } from './source.ts'
import type { BrokerName, BrokerOf, OptionsOf } from './types.ts'

const TRIES = 3

/** PostgreSQL runs as another user when we are root: that user may enter its folder, but not list the ones above. */
const PASSABLE = 0o711

/**
 * Starts a private broker with a free port and its own data. It is removed by `stop()`, or at the latest when this
 * process ends, however it ends.
 *
 *     await using redis = await startPrivate('redis', { args: ['--requirepass', 's3cret'] })
 */
export async function startPrivate<N extends BrokerName>(name: N, options: OptionsOf[N] = {}): Promise<BrokerOf[N]> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await start(name, options)
    } catch (error) {
      // Another process may take the port between our check and the broker's own bind.
      const taken = error instanceof Error && /address (already )?in use|eaddrinuse/i.test(error.message)
      if (!taken || options.port !== undefined || attempt === TRIES) throw error
    }
  }
}

async function start<N extends BrokerName>(name: N, options: OptionsOf[N]): Promise<BrokerOf[N]> {
  const id = `${name}-${randomBytes(4).toString('hex')}`
  const dataDir = await mkdtemp(join(runDir('private'), `${name}-`))
  await chmod(dataDir, PASSABLE)
  tellGuard({ kind: 'watch', id, watched: { dataDir, refs: [], container: undefined } })
  try {
    const port = options.port ?? (await freePort())
    const blueprint = await prepare({ name, dataDir, port, project: `busbar-${id}`, exclusive: true, options })
    const { container } = blueprint
    tellGuard({ kind: 'watch', id, watched: { dataDir, refs: [], container } })
    const { broker, runtime } = openInstance(
      name,
      { blueprint, refs: [] },
      (refs) => tellGuard({ kind: 'watch', id, watched: { dataDir, refs, container } }),
      () => tellGuard({ kind: 'release', id }),
    )
    try {
      await runtime.start()
      return broker
    } catch (error) {
      await broker.stop()
      throw error
    }
  } catch (error) {
    await rm(dataDir, { recursive: true, force: true })
    tellGuard({ kind: 'release', id })
    throw error instanceof BrokerError ? error : new BrokerError('start-failed', name, 'could not be started', error)
  }
}
