import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ensurePeers, oldestNode, PEERS } from '../peers/ensure-peers.ts'
import { consumerProject, ROOT, run } from './staged-package.ts'

const PROGRAM = `
import { createBus } from 'busbar'
import { sqlite } from 'busbar/sqlite'
import { transportFromUrl } from 'busbar/url'

async function main() {
  for (const transport of [await transportFromUrl('memory:'), sqlite({ path: './busbar.db' })]) {
    const bus = createBus({ service: 'hello', transport })
    bus.consume('greetings.sent', (message) => console.log(transport.system, message.data))
    await bus.start()
    const handled = bus.events.once('ack')
    await bus.publish('greetings.sent', 'Hello', { key: 'ada' })
    await handled
    await bus.close()
  }
}
main().catch((error) => {
  console.log(error.name, error.retryable, error.message)
  process.exitCode = 1
})
`
const GREETINGS = 'memory Hello\nsqlite Hello\n'

const KAFKA_PROGRAM = `
import { createClient, partitionForKey } from 'busbar/kafka/client'

const kafka = createClient({ brokers: ['127.0.0.1:1'], clientId: 'hello', connectTimeoutMs: 1000 })
kafka.admin({ timeoutMs: 1000 }).topics.list()
  .catch((error) => console.log(error.code, partitionForKey('ord-1', 12)))
  .then(() => kafka.close())
`
const NO_BROKER = /^(CLUSTER_UNREACHABLE|WAIT_TIMEOUT) \d+\n$/

/** What users make of the package: programs of several kinds, bundles, tests. `tarball` is asked for when the tests run. */
export function describeUserProjects(tarball: () => string): void {
  let project: { readonly folder: string; remove(): void }
  /** Has nothing in it but what a test puts there: no package can be found from here. */
  let deployed: string

  beforeAll(async () => {
    await ensurePeers()
    project = await consumerProject(tarball())
    deployed = mkdtempSync(join(tmpdir(), 'busbar-deployed-'))
  }, 600_000)

  afterAll(() => {
    project?.remove()
    if (deployed !== undefined) rmSync(deployed, { recursive: true, force: true })
  })

  function write(name: string, text: string): void {
    mkdirSync(dirname(join(project.folder, name)), { recursive: true })
    writeFileSync(join(project.folder, name), text)
  }

  function esbuild(...args: readonly string[]): Promise<string> {
    const program = join(PEERS, 'node_modules/esbuild/bin/esbuild')
    return run(project.folder, process.execPath, [program, '--bundle', '--platform=node', '--log-level=error', ...args])
  }

  /** The running Node, and the oldest one where there is one. */
  const nodes = (): readonly string[] => [process.execPath, oldestNode()].filter((node) => node !== undefined)

  /** Copies what was built to where no package is, and runs it. */
  async function deploy(files: readonly string[], node: string = process.execPath): Promise<string> {
    const folder = mkdtempSync(join(deployed, 'app-'))
    for (const file of files) cpSync(join(project.folder, file), join(folder, file.replace(/^.*\//, '')))
    return run(folder, node, [(files[0] as string).replace(/^.*\//, '')])
  }

  describe('CommonJS', () => {
    it('requires the package', async () => {
      write('program.cjs', PROGRAM.replace(/^import (.*) from (.*)$/gm, 'const $1 = require($2)'))
      for (const node of nodes()) expect(await run(project.folder, node, ['program.cjs'])).toBe(GREETINGS)
    })

    it('requires the Kafka client', async () => {
      write('kafka.cjs', KAFKA_PROGRAM.replace(/^import (.*) from (.*)$/gm, 'const $1 = require($2)'))
      for (const node of nodes()) expect(await run(project.folder, node, ['kafka.cjs'])).toMatch(NO_BROKER)
    })

    it('is served by a resolver that knows main alone', async () => {
      const require = 'require(require.resolve("busbar/package.json").replace("package.json", manifest.main))'
      write(
        'main.cjs',
        `const manifest = require('busbar/package.json'); console.log(typeof ${require}.createBus, manifest.types)`,
      )
      expect(await run(project.folder, process.execPath, ['main.cjs'])).toBe('function ./dist/index.d.ts\n')
    })
  })

  describe('an esbuild bundle', () => {
    const worker = 'busbar-sqlite-worker=busbar/sqlite/worker'

    it.each(['esm', 'cjs'])('runs on memory and SQLite as one file and its worker (%s)', async (format) => {
      write('app.ts', PROGRAM)
      const type = format === 'esm' ? 'mjs' : 'cjs'
      await esbuild('app.ts', worker, `--format=${format}`, `--outdir=${format}`, `--out-extension:.js=.${type}`)
      for (const node of nodes())
        expect(await deploy([`${format}/app.${type}`, `${format}/busbar-sqlite-worker.${type}`], node)).toBe(GREETINGS)
    })

    it.each(['esm', 'cjs'])(
      'says what is missing without the worker, and that trying again is of no use (%s)',
      async (format) => {
        write('app.ts', PROGRAM)
        const type = format === 'esm' ? 'mjs' : 'cjs'
        await esbuild('app.ts', `--format=${format}`, `--outfile=alone.${type}`)
        const failed = await deploy([`alone.${type}`]).catch(String)
        expect(failed).toContain('memory Hello')
        expect(failed).toMatch(
          /ConnectionError false The SQLite transport can't find .* make "busbar\/sqlite\/worker" another/,
        )
      },
    )

    it.each(['esm', 'cjs'])('of the Kafka client is one file (%s)', async (format) => {
      write('kafka.ts', KAFKA_PROGRAM)
      const file = `kafka.${format === 'esm' ? 'mjs' : 'cjs'}`
      await esbuild('kafka.ts', `--format=${format}`, `--outfile=${file}`)
      for (const node of nodes()) expect(await deploy([file], node)).toMatch(NO_BROKER)
    })

    it('loads the transport of a broker from a URL only when it was passed', async () => {
      // Its own dependencies have to be found from where it is.
      symlinkSync(join(ROOT, 'node_modules/redis'), join(project.folder, 'node_modules/redis'))
      const program = (factories: string): string => `
        import { transportFromUrl } from 'busbar/url'
        ${factories === '' ? '' : `import { redis } from 'busbar/redis'`}
        transportFromUrl('redis://localhost?retention.maxMessages=10'${factories}).then((t) => console.log(t.system), (e) => console.log(e.message))`
      write('without.ts', program(''))
      write('with.ts', program(', { redis }'))
      await esbuild('without.ts', 'with.ts', '--format=cjs', '--outdir=urls', '--out-extension:.js=.cjs')
      expect(await deploy(['urls/without.cjs'])).toContain('Redis Streams, which is not part of this bundle')
      expect(await deploy(['urls/with.cjs'])).toBe('redis\n')
    })
  })

  describe('Jest', () => {
    const body = `
      test.each(['memory', 'sqlite'])('%s', async (name) => {
        const { createBus, transport } = await load(name)
        const bus = createBus({ service: 'hello', transport })
        const handled = []
        bus.consume('greetings.sent', (message) => { handled.push(message.data) })
        await bus.start()
        const acked = bus.events.once('ack')
        await bus.publish('greetings.sent', 'Hello')
        await acked
        await bus.close()
        expect(handled).toEqual(['Hello'])
      })`
    const required = `
      const { createBus } = require('busbar')
      const factories = { ...require('busbar/memory'), ...require('busbar/sqlite') }
      const load = (name) => ({ createBus, transport: factories[name]({ ...(name === 'sqlite' && { path: './a.db' }) }) })`
    const imported = `
      const load = async (name) => {
        const { createBus } = await import('busbar')
        const factory = (await import('busbar/' + name))[name]
        return { createBus, transport: factory({ ...(name === 'sqlite' && { path: './b.db' }) }) }
      }`

    beforeAll(() => {
      const manifest = { name: 'jest-project', private: true, jest: { cacheDirectory: './cache' } }
      write('jest/package.json', JSON.stringify(manifest))
      write('jest/require.test.js', required + body)
      write('jest/import.test.js', imported + body)
    })

    /** Resolves when the tests of that file have passed; rejects with what Jest says about them. */
    function jest(node: string, file: string): Promise<string> {
      const program = join(PEERS, 'node_modules/jest/bin/jest.js')
      const folder = join(project.folder, 'jest')
      return run(folder, node, ['--experimental-vm-modules', '--no-warnings', program, '--ci', '--silent', file])
    }

    it('runs tests of a CommonJS project that require the package', async () => {
      await jest(process.execPath, 'require')
    })

    it('runs tests of a CommonJS project that import the package, also on the oldest Node', async () => {
      for (const node of nodes()) await jest(node, 'import')
    })
  })
}
