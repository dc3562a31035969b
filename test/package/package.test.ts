import {
  cpSync,
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { pathToFileURL } from 'node:url'
import { publint } from 'publint'
import { formatMessage } from 'publint/utils'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { importsOf, packageOf } from './imports.ts'
import { consumerProject, npm, ROOT, run, stagePackage } from './staged-package.ts'
import type { Manifest, StagedPackage } from './staged-package.ts'
import { describeUserProjects } from './user-projects.ts'

const { exports } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as Manifest
const subpaths = Object.keys(exports).filter((subpath) => subpath !== './package.json')

/** The client that a subpath may load. Everything that is not here loads no package at all. */
const CLIENTS: Readonly<Record<string, readonly string[]>> = {
  './rabbitmq': ['amqplib'],
  './nats': ['@nats-io/transport-node'],
  './redis': ['redis'],
}

/** Loaded by Node as the file of a thread only. */
const WORKER = './sqlite/worker'

/** A URL for each client, and the package that a user installs for it. */
const URLS: Readonly<Record<string, string>> = {
  'amqp://localhost': 'amqplib',
  'nats://localhost': '@nats-io/transport-node',
  'redis://localhost?retention.maxMessages=1000': 'redis',
}

let staged: StagedPackage
let project: { readonly folder: string; remove(): void }

beforeAll(async () => {
  staged = await stagePackage()
  project = await consumerProject(staged.tarball)
})

afterAll(() => {
  staged?.remove()
  project?.remove()
})

/** The built file of a subpath. */
function builtFile(subpath: string): string {
  return join(staged.folder, target(subpath, 'default'))
}

function target(subpath: string, condition: string): string {
  const entry = exports[subpath]
  const path = typeof entry === 'object' ? entry[condition] : undefined
  if (path === undefined) throw new Error(`exports["${subpath}"] has no "${condition}"`)
  return path
}

describe('the exports of package.json', () => {
  it.each(subpaths)('%s has a source, a built module and its types, where their names say', (subpath) => {
    const source = target(subpath, 'busbar-source')
    expect(existsSync(join(ROOT, source)), source).toBe(true)
    const built = source.replace('./src/', './dist/').replace(/\.ts$/, '')
    expect(target(subpath, 'default')).toBe(`${built}.js`)
    expect(target(subpath, 'types')).toBe(`${built}.d.ts`)
    for (const file of [`${built}.js`, `${built}.d.ts`]) {
      expect(existsSync(join(staged.folder, file)), file).toBe(true)
      expect(staged.files.map(({ path }) => `./${path}`)).toContain(file)
    }
  })

  it.each(subpaths)('%s names its exports one by one', (subpath) => {
    // A star would make public whatever is added to a file.
    expect(readFileSync(join(ROOT, target(subpath, 'busbar-source')), 'utf8')).not.toMatch(/^export\s+\*/m)
  })

  it('please publint', async () => {
    const { messages } = await publint({
      pack: { tarball: new Uint8Array(readFileSync(staged.tarball)).buffer },
      strict: true,
    })
    const manifest = staged.manifest as unknown as Record<string, unknown>
    expect(messages.map((message) => formatMessage(message, manifest, { color: false }))).toEqual([])
  })
})

describe('what a subpath loads', () => {
  it.each(subpaths)('%s loads no package but its own client', (subpath) => {
    expect([...importsOf(builtFile(subpath)).packages].filter((name) => !CLIENTS[subpath]?.includes(name))).toEqual([])
  })

  it('the root loads nothing outside of core, and nothing that warns or takes long', () => {
    const { files, builtins } = importsOf(builtFile('.'))
    const outside = [...files]
      .map((file) => relative(join(staged.folder, 'dist'), file))
      .filter((file) => !/^(index\.js|core\/)/.test(file))
    expect(outside).toEqual([])
    expect(
      [...builtins].filter((name) => !/^node:(async_hooks|crypto|events|util|buffer|timers|perf_hooks)/.test(name)),
    ).toEqual([])
  })

  it('the Kafka client loads nothing of the rest, and nothing but its transport loads it', () => {
    const client = './kafka/client'
    const transport = './kafka'
    const isOfTheClient = (file: string): boolean => file.startsWith(join(staged.folder, 'dist/kafka/'))
    expect([...importsOf(builtFile(client)).files].filter((file) => !isOfTheClient(file))).toEqual([])
    for (const subpath of subpaths.filter((name) => name !== client && name !== transport))
      expect([...importsOf(builtFile(subpath)).files].filter(isOfTheClient), subpath).toEqual([])
  })

  it('the sample transport of the docs needs nothing but busbar/transport', () => {
    const sample = readFileSync(join(ROOT, 'examples/write-a-transport/loopback.ts'), 'utf8')
    const from = [...sample.matchAll(/^(?:import|\}) .*\bfrom '([^']+)'$/gm)].map(([, specifier]) => specifier)
    expect(new Set(from)).toEqual(new Set(['busbar/transport']))
  })

  it('only the testing kit loads the testing kit', () => {
    for (const subpath of subpaths.filter((name) => !name.startsWith('./testing'))) {
      const testing = [...importsOf(builtFile(subpath)).files].filter((file) => file.includes('/dist/testing/'))
      expect(testing, subpath).toEqual([])
    }
  })

  it('every lazy import leads to a file of ours, or to an optional peer', () => {
    const { peerDependencies = {}, peerDependenciesMeta = {} } = staged.manifest
    for (const subpath of subpaths) {
      for (const { from, specifier } of importsOf(builtFile(subpath)).lazy) {
        if (specifier.startsWith('node:')) continue
        if (specifier.startsWith('.'))
          expect(existsSync(join(dirname(from), specifier)), `${from}: ${specifier}`).toBe(true)
        else {
          expect(Object.keys(peerDependencies), `${from}: ${specifier}`).toContain(packageOf(specifier))
          expect(peerDependenciesMeta[packageOf(specifier)]?.optional).toBe(true)
        }
      }
    }
  })

  it('is what Node itself loads', async () => {
    // Were the imports above misread, the tests above would see nothing wrong.
    const recorder = `
      import { registerHooks } from 'node:module'
      const loaded = new Set()
      registerHooks({ resolve: (specifier, context, next) => {
        const resolved = next(specifier, context)
        loaded.add(resolved.url)
        return resolved
      } })
      await import(process.argv[1])
      console.log(JSON.stringify([...loaded]))`
    for (const subpath of subpaths.filter((name) => CLIENTS[name] === undefined && name !== WORKER)) {
      const file = builtFile(subpath)
      const args = ['--no-warnings', '--input-type=module', '--eval', recorder, pathToFileURL(file).href]
      const loaded = JSON.parse(await run(project.folder, process.execPath, args)) as string[]
      const { files, builtins } = importsOf(file)
      const expected = [...[...files].map((name) => pathToFileURL(name).href), ...builtins]
      expect(loaded.sort(), subpath).toEqual(expected.sort())
    }
  })
})

describe('what is published', () => {
  it('has no dependencies, and only optional peers', () => {
    const { dependencies = {}, peerDependencies = {}, peerDependenciesMeta = {} } = staged.manifest
    expect(dependencies).toEqual({})
    for (const name of Object.keys(peerDependencies))
      expect(peerDependenciesMeta[name], name).toEqual({ optional: true })
    expect(Object.keys(peerDependenciesMeta).filter((name) => peerDependencies[name] === undefined)).toEqual([])
  })

  it('is the build, its sources and the four files that everybody expects', () => {
    const paths = staged.files.map(({ path }) => path)
    const besides = paths.filter((path) => !/^(dist|src)\//.test(path))
    expect(besides.sort()).toEqual(['CHANGELOG.md', 'LICENSE', 'README.md', 'package.json'])
    expect(paths.filter((path) => path.startsWith('dist/') && !/\.(js|d\.ts|d\.ts\.map)$/.test(path))).toEqual([])
    expect(paths.filter((path) => path.startsWith('src/') && !path.endsWith('.ts'))).toEqual([])
  })

  it('is built from every source, and from nothing else', () => {
    const sources = globSync('**/*.ts', { cwd: join(staged.folder, 'src') })
    const expected = sources.flatMap((path) => ['.js', '.d.ts', '.d.ts.map'].map((end) => path.replace(/\.ts$/, end)))
    const built = staged.files.map(({ path }) => path).filter((path) => path.startsWith('dist/'))
    expect(built.map((path) => path.slice('dist/'.length)).sort()).toEqual(expected.sort())
  })

  it('leads an editor from every declaration to its source', () => {
    const packed = new Set(staged.files.map(({ path }) => path))
    for (const path of [...packed].filter((name) => name.endsWith('.d.ts.map'))) {
      const { sources } = JSON.parse(readFileSync(join(staged.folder, path), 'utf8')) as { sources: readonly string[] }
      expect(sources).toHaveLength(1)
      expect([...packed], path).toContain(join(dirname(path), sources[0] as string))
    }
  })

  it('has no scripts and no tools for development, which are not in the package', () => {
    // npm warns about a script that it would not run.
    for (const field of ['scripts', 'devDependencies', 'allowScripts'])
      expect(Object.keys(staged.packedManifest)).not.toContain(field)
  })

  it('has no condition that leads to sources, which Node does not run there', () => {
    for (const [subpath, entry] of Object.entries(staged.packedManifest.exports))
      if (typeof entry === 'object') expect(Object.keys(entry), subpath).toEqual(['types', 'default'])
    expect(Object.keys(staged.packedManifest.exports)).toEqual(Object.keys(exports))
    // npm has put the file back.
    expect(staged.manifest.exports).toEqual(exports)
  })

  it('is small', () => {
    const size = (pattern: RegExp): number =>
      staged.files.filter(({ path }) => pattern.test(path)).reduce((sum, file) => sum + file.size, 0)
    // 1.5 and 2 MB before the Kafka client was published with it, which is 0.7 MB of JavaScript and has a declaration for each file; the Kafka
    // transport is 0.3 MB more. Pipelines, outbox, inbox and the command line are 0.13 MB.
    expect(statSync(staged.tarball).size).toBeLessThan(2_600_000)
    expect(size(/^dist\/.*\.js$/)).toBeLessThan(3_500_000)
    // Whoever wants Kafka alone loads this much.
    expect(size(/^dist\/kafka\/.*\.js$/)).toBeLessThan(800_000)
  })

  it('has comments in the declarations, and in JavaScript only where bundlers obey them', () => {
    const text = (path: string): string => readFileSync(join(staged.folder, 'dist', path), 'utf8')
    expect(text('core/bus.d.ts')).toMatch(/^\s*\/\*\*/m)
    const built = globSync('**/*.js', { cwd: join(staged.folder, 'dist') })
    expect(built.filter((path) => /^\s*\/\*\*/m.test(text(path)))).toEqual(['transports/url.js'])
    expect(text('transports/url.js')).toMatch(/import\([^)]*\/\* webpackIgnore: true \*\/ \/\* @vite-ignore \*\//)
  })

  it('says nothing of where it was built', () => {
    for (const { path } of staged.files) {
      const text = readFileSync(join(staged.folder, path), 'utf8')
      expect(text.includes(ROOT) || text.includes(staged.folder), path).toBe(false)
    }
  })
})

describe('the scripts that npm runs', { timeout: 60_000 }, () => {
  it('build when the package is installed from git, and leave alone an install without TypeScript', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'busbar-prepare-'))
    try {
      for (const name of ['tools', 'src', 'package.json', 'tsconfig.json', 'tsconfig.build.json'])
        cpSync(join(ROOT, name), join(folder, name), { recursive: true })
      await npm(folder, 'run', 'prepare')
      expect(existsSync(join(folder, 'dist'))).toBe(false)
      symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'))
      await npm(folder, 'run', 'prepare')
      expect(existsSync(join(folder, 'dist/index.js'))).toBe(true)
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  })
})

describe('a project that has nothing but the package', { timeout: 60_000 }, () => {
  it('type-checks a program that uses every subpath without a client, declarations included', async () => {
    link('@types/node')
    writeFileSync(join(project.folder, 'program.ts'), PROGRAM)
    writeImports(subpaths.filter((subpath) => CLIENTS[subpath] === undefined))
    expect(await typeCheck({ skipLibCheck: false })).toBe('')
  })

  it('says which client to install when a URL asks for it', async () => {
    for (const [url, client] of Object.entries(URLS)) {
      const program = `
        import { transportFromUrl } from 'busbar/url'
        await transportFromUrl('${url}').catch((error) => console.log(error.message))`
      writeFileSync(join(project.folder, 'program.js'), program)
      expect(await run(project.folder, process.execPath, ['program.js'])).toContain(`npm install ${client}`)
    }
  })

  it('type-checks every subpath when the clients are there', async () => {
    for (const client of Object.values(URLS)) link(client)
    writeImports(subpaths)
    // Their declarations are theirs to get right.
    expect(await typeCheck({ skipLibCheck: true })).toBe('')
  })

  it('does not type-check a program that is wrong, or the check above would mean nothing', async () => {
    const wrong = PROGRAM.replace("{ orderId: 'ord-1' }", '{ orderId: 1 }')
    expect(wrong).not.toBe(PROGRAM)
    writeFileSync(join(project.folder, 'program.ts'), wrong)
    await expect(typeCheck({ skipLibCheck: true })).rejects.toThrow(/program\.ts\(\d+,\d+\): error TS2769/)
  })

  it.each([
    ['memory', 'memory()'],
    ['sqlite', "sqlite({ path: './busbar.db' })"],
  ])('runs a program on %s', async (name, transport) => {
    const program = `
      import { createBus } from 'busbar'
      import { ${name} } from 'busbar/${name}'
      await using bus = createBus({ service: 'hello', transport: ${transport} })
      bus.consume('greetings.sent', (message) => console.log(message.data))
      await bus.start()
      const handled = bus.events.once('ack')
      await bus.publish('greetings.sent', 'Hello')
      await handled`
    writeFileSync(join(project.folder, 'program.js'), program)
    expect(await run(project.folder, process.execPath, ['program.js'])).toBe('Hello\n')
  })
})

describe('a user', { timeout: 60_000 }, () => describeUserProjects(() => staged.tarball))

/** Makes a package of this project's one of the consumer's. */
function link(name: string): void {
  const path = join(project.folder, 'node_modules', name)
  mkdirSync(dirname(path), { recursive: true })
  symlinkSync(join(ROOT, 'node_modules', name), path)
}

function writeImports(names: readonly string[]): void {
  const imports = names.map((subpath, index) => `import * as m${index} from 'busbar${subpath.slice(1)}'`)
  const all = names.map((_, index) => `m${index}`).join(', ')
  writeFileSync(join(project.folder, 'every.ts'), `${imports.join('\n')}\nexport const all: object[] = [${all}]\n`)
}

function typeCheck({ skipLibCheck }: { readonly skipLibCheck: boolean }): Promise<string> {
  const compilerOptions = {
    strict: true,
    exactOptionalPropertyTypes: true,
    noUncheckedIndexedAccess: true,
    skipLibCheck,
    module: 'nodenext',
    moduleResolution: 'nodenext',
    target: 'es2023',
    // As few libraries as a project may have that follows the advice for Node 22.
    lib: ['es2023', 'esnext.disposable'],
    types: ['node'],
    noEmit: true,
  }
  const files = ['every.ts', 'program.ts']
  writeFileSync(join(project.folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, files }))
  return run(project.folder, 'tsc', ['-p', '.'])
}

const PROGRAM = `
import { createBus, defineEvent } from 'busbar'
import type { Handler, Middleware } from 'busbar'
import { createClient } from 'busbar/kafka/client'
import type { ConsumerBatch, RecordContent } from 'busbar/kafka/client'
import { memory } from 'busbar/memory'
import { circuitBreaker, dedupe, throttle } from 'busbar/middleware'
import { memoryDedupeStore } from 'busbar/stores/memory'

const OrderPlaced = defineEvent<{ orderId: string }>('orders.placed', { key: (order) => order.orderId })
const own: Middleware = (next: Handler) => (message, ctx) => next(message, ctx)
const bus = createBus({ service: 'billing', transport: memory(), middleware: [own] })
bus.consume(
  OrderPlaced,
  async (message, ctx) => {
    const id: string = message.data.orderId
    await ctx.publish('payments.taken', { id }, { key: id })
  },
  { middleware: [circuitBreaker(), throttle({ perSecond: 10 }), dedupe({ store: memoryDedupeStore() })] },
)
await bus.start()
await bus.publish(OrderPlaced, { orderId: 'ord-1' })
await bus.close()

const kafka = createClient({ brokers: ['localhost:9092'], clientId: process.env['NAME'], tls: process.env['TLS'] === 'yes' })
const invoicesOf = (batch: ConsumerBatch): RecordContent[] =>
  batch.records.map(({ key, valueText }) => ({ key, value: valueText, headers: [{ key: 'a', value: 'b' }] }))
async function invoice(): Promise<void> {
  const producer = kafka.producer({ transactionalId: true })
  const consumer = kafka.consumer({ topics: ['orders', /invoices[.].*/], group: 'billing', autoCommit: false })
  for await (const batch of consumer) {
    const { topic, partition, nextOffset: offset } = batch
    await producer.transaction(async (tx) => {
      await tx.sendMany('invoices', invoicesOf(batch))
      tx.offsets(consumer, [{ topic, partition, offset }])
    })
    batch.done()
  }
}
export const programs = [invoice, () => kafka.close({ deadlineMs: 5_000 })]
`
