import { execFile, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { chmod, mkdtemp, readFile, rm, symlink } from 'node:fs/promises'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  BROKER_NAMES,
  borrow,
  brokerStatus,
  ensureShared,
  sharedBroker,
  startPrivate,
  waitFor,
} from '../../tools/brokers/index.ts'
import type { BrokerStatus } from '../../tools/brokers/index.ts'
import { natsBinary } from '../../tools/brokers/nats-install.ts'
import { DEFAULT_PORTS } from '../../tools/brokers/ports.ts'
import { probe } from '../../tools/brokers/probe.ts'
import { isRunning, redis, skipIfMissing } from './broker-helpers.ts'

const ROOT = join(import.meta.dirname, '..', '..')
const CLI = join(ROOT, 'tools', 'brokers', 'cli.ts')

let ownDir: string

// Its own set of shared instances: those of the developer stay as they are.
beforeAll(async () => {
  ownDir = await mkdtemp(join(tmpdir(), 'busbar-brokers-test-'))
  // PostgreSQL has to get through as another user when the tests run as root.
  await chmod(ownDir, 0o711)
  process.env['BUSBAR_BROKERS_DIR'] = ownDir
  for (const name of BROKER_NAMES) delete process.env[`BUSBAR_TEST_${name.toUpperCase()}_URL`]
})

afterAll(async () => {
  await cli(['down'])
  await rm(ownDir, { recursive: true, force: true })
})

interface Run {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

function cli(args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Run> {
  const { promise, resolve } = Promise.withResolvers<Run>()
  const options = { env: { ...process.env, NODE_OPTIONS: '', ...env } }
  execFile(process.execPath, [CLI, ...args], options, (error, stdout, stderr) =>
    resolve({ code: typeof error?.code === 'number' ? error.code : 0, stdout, stderr }),
  )
  return promise
}

async function cliStatus(...names: readonly string[]): Promise<readonly BrokerStatus[]> {
  return JSON.parse((await cli(['status', '--json', ...names])).stdout) as BrokerStatus[]
}

/** Kafka takes a minute, and no transport is tested on it yet. */
const EACH_TIME = BROKER_NAMES.filter((name) => name !== 'kafka' || process.env['BUSBAR_SOAK'] !== undefined)

describe.each(EACH_TIME)('a private %s', (name) => {
  test(
    'lives through kill, pause and restart on one URL, and leaves nothing',
    { timeout: 180_000 },
    async (context) => {
      const broker = await skipIfMissing(context, startPrivate(name))
      const { url, port, dataDir, pid } = broker
      expect(url).toContain(`127.0.0.1:${port}`)
      expect(port).not.toBe(DEFAULT_PORTS[name])
      expect(await broker.healthy()).toBe(true)

      await broker.kill()
      expect(await broker.healthy()).toBe(false)
      expect(broker.pid).toBeUndefined()

      await broker.restart()
      expect(await broker.healthy()).toBe(true)
      expect(broker.url).toBe(url)
      if (pid !== undefined) expect(broker.pid).not.toBe(pid)

      await broker.pause()
      expect(await probe(name, { host: broker.host, port }, 300)).toBe(false)
      await broker.resume()
      expect(await waitFor(() => broker.healthy(), { timeoutMs: 10_000 })).toBe(true)

      await broker.halt()
      expect(await broker.healthy()).toBe(false)
      await broker.restart()
      expect(await broker.healthy()).toBe(true)

      const last = broker.pid
      await broker.stop()
      expect(await broker.healthy()).toBe(false)
      expect(existsSync(dataDir)).toBe(false)
      if (last !== undefined) expect(isRunning(last)).toBe(false)
    },
  )
})

describe('shared instances', () => {
  test('two processes that bring them up at once start one each, and later ones find it', async () => {
    const [first, second] = await Promise.all([cli(['up', 'redis', 'postgres']), cli(['up', 'postgres', 'redis'])])
    expect([first.code, second.code], first.stderr + second.stderr).toEqual([0, 0])
    const ready = `${first.stderr}${second.stderr}`.split('\n').filter((line) => line.includes('is ready after'))
    expect(ready).toHaveLength(2)

    const rows = await cliStatus('redis', 'postgres')
    expect(rows.map((row) => row.state)).toEqual(['healthy', 'healthy'])
    expect((await ensureShared('redis')).pid).toBe(rows[0]?.pid)

    const { stdout } = await cli(['env', 'redis', 'postgres'])
    expect(stdout.split('\n')).toEqual([
      `export BUSBAR_TEST_REDIS_URL='redis://127.0.0.1:${sharedBroker('redis')?.port}'`,
      `export BUSBAR_TEST_POSTGRES_URL='postgres://postgres@127.0.0.1:${sharedBroker('postgres')?.port}/postgres'`,
      '',
    ])
  })

  test('one whose process died is seen as dead and comes back on its port with its data', async () => {
    const before = await ensureShared('redis')
    expect(await redis(before, 'SET survivor 1')).toBe('+OK')
    expect((await cli(['kill', 'redis'])).code).toBe(0)
    expect((await brokerStatus('redis')).state).toBe('dead')
    expect((await cli(['status', 'redis'])).code).toBe(1)

    expect((await cli(['up', 'redis'])).code).toBe(0)
    const after = await ensureShared('redis')
    expect(after.url).toBe(before.url)
    expect(await redis(after, 'EXISTS survivor')).toBe(':1')
  })

  test('one that is paused is unhealthy, and up wakes it', async () => {
    const broker = await ensureShared('redis')
    await broker.pause()
    expect((await brokerStatus('redis')).state).toBe('unhealthy')
    const { pid } = broker
    expect((await ensureShared('redis')).pid).toBe(pid)
  })

  test('one that is borrowed is left alone by its borrower; where none runs, a private one is lent', async () => {
    const shared = await ensureShared('redis')
    const borrowed = await borrow('redis')
    expect(borrowed.pid).toBe(shared.pid)
    await borrowed.stop()
    expect(await shared.healthy()).toBe(true)

    expect((await cli(['kill', 'redis'])).code).toBe(0)
    const own = await borrow('redis')
    expect(own.port).not.toBe(shared.port)
    await own.stop()
    expect(await own.healthy()).toBe(false)
  })

  test('down ends them, also from another process', async () => {
    const pid = (await ensureShared('redis')).pid
    expect((await cli(['down', 'redis', 'postgres'])).code).toBe(0)
    expect((await cliStatus('redis', 'postgres')).map((row) => row.state)).toEqual(['down', 'down'])
    if (pid !== undefined) expect(isRunning(pid)).toBe(false)
    const { code, stdout, stderr } = await cli(['env', 'redis'])
    expect([code, stdout]).toEqual([1, ''])
    expect(stderr).toContain('not running: redis')
  })
})

describe('a URL in the environment', () => {
  test('comes before everything else and is left alone', async () => {
    await using own = await startPrivate('redis')
    const env = { BUSBAR_TEST_REDIS_URL: own.url.replace('//', '//user:hidden@') }
    const up = await cli(['up', 'redis'], env)
    expect(up.code, up.stderr).toBe(0)
    expect(up.stdout).toMatch(/redis +healthy +env/)
    expect(up.stdout).not.toContain('hidden')
    expect((await cli(['kill', 'redis'], env)).stderr).toContain('not ours')
    await cli(['down', 'redis'], env)
    expect(await own.healthy()).toBe(true)
  })

  test('that nothing answers is an error that says so, without its password', async () => {
    const { code, stderr } = await cli(['up', 'redis'], { BUSBAR_TEST_REDIS_URL: 'redis://user:hidden@127.0.0.1:1' })
    expect(code).toBe(1)
    expect(stderr).toContain('BUSBAR_TEST_REDIS_URL')
    expect(stderr).not.toContain('hidden')
  })
})

test('what can not be started is named, with what to install; the others start, and the exit code says so', async (context) => {
  await using nats = await skipIfMissing(context, startPrivate('nats'))
  const path = await mkdtemp(join(ownDir, 'path-'))
  // A machine with a NATS server and nothing else; where Docker brings the servers, one with nothing at all.
  const local = nats.source === 'local'
  if (local) await symlink((await natsBinary(undefined)).file, join(path, 'nats-server'))
  const bare = { BUSBAR_BROKERS_DIR: join(ownDir, 'bare'), BUSBAR_BROKERS_SOURCE: 'local' }
  const env = { ...bare, PATH: path, BUSBAR_BROKERS_INSTALL: 'never' }
  const { code, stdout, stderr } = await cli(local ? ['up', 'redis', 'nats'] : ['up', 'redis'], env)
  await cli(['down'], bare)
  expect(code).toBe(1)
  if (local) expect(stdout).toMatch(/nats +healthy/)
  expect(stderr).toContain('install the package redis-server')
  expect(stderr).toContain('BUSBAR_TEST_REDIS_URL')
  expect(stderr).toContain('not started: redis')
})

test('a private broker ends when the process that started it is killed', async () => {
  const index = join(ROOT, 'tools', 'brokers', 'index.ts')
  const program = `
    import { startPrivate } from ${JSON.stringify(index)}
    const { pid, dataDir, url } = await startPrivate('redis')
    console.log(JSON.stringify({ pid, dataDir, url }))
    setInterval(() => {}, 1000)`
  const parent = spawn(process.execPath, ['--input-type=module', '-e', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const [line] = await new Promise<string[]>((resolve) =>
    createInterface(parent.stdout).once('line', (text) => resolve([text])),
  )
  const child = JSON.parse(line ?? '{}') as { readonly pid?: number; readonly dataDir: string }
  expect(existsSync(child.dataDir)).toBe(true)
  parent.kill('SIGKILL')
  const gone = (): boolean => !existsSync(child.dataDir) && (child.pid === undefined || !isRunning(child.pid))
  expect(await waitFor(gone, { timeoutMs: 10_000 })).toBe(true)
})

test('an open port is not a healthy broker', async () => {
  const server = createServer((socket) => socket.on('error', () => undefined).end('HTTP/1.1 400 Bad Request\r\n\r\n'))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const answers = await Promise.all(BROKER_NAMES.map((name) => probe(name, { host: '127.0.0.1', port }, 1_000)))
  server.close()
  expect(answers).toEqual(BROKER_NAMES.map(() => false))
})

test('compose.yaml publishes the same ports, on loopback only', async () => {
  const text = await readFile(join(ROOT, 'compose.yaml'), 'utf8')
  for (const name of BROKER_NAMES) {
    expect(text).toContain(`127.0.0.1:\${BUSBAR_${name.toUpperCase()}_PORT:-${DEFAULT_PORTS[name]}}:`)
  }
  const published = [...text.matchAll(/^ +- '(.*:\d+)'$/gm)].map((match) => match[1] ?? '')
  expect(published.length).toBeGreaterThanOrEqual(BROKER_NAMES.length)
  expect(published.filter((entry) => !entry.startsWith('127.0.0.1:'))).toEqual([])
})
