import { execFile } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { interfacesOf } from '../../tools/interface-reader.ts'

const root = join(import.meta.dirname, '../..')

function generate(folder: string, ...args: readonly string[]): Promise<{ readonly stderr: string }> {
  return promisify(execFile)(process.execPath, [join(folder, 'tools/docs-reference.ts'), ...args])
}

describe('the reference pages', () => {
  it('say what the sources say', async () => {
    const { stderr } = await generate(root, '--check')
    expect(stderr).toBe('')
  })

  it.each(['memory', 'sqlite', 'rabbitmq', 'nats', 'redis'])('have every options interface that %s exports', (name) => {
    const page = readFileSync(join(root, 'docs/reference/options.md'), 'utf8')
    const index = readFileSync(join(root, `src/transports/${name}/index.ts`), 'utf8')
    const exported = [...index.matchAll(/^export type \{([^}]*)\}/gm)].flatMap(
      ([, names = '']) => names.match(/\w+/g) ?? [],
    )
    const main = new RegExp(`function ${name}\\(options\\??: (\\w+)`).exec(index)?.[1] ?? ''
    expect(exported).toContain(main)
    for (const word of exported.filter((type) => type.endsWith('Options')))
      expect(page).toContain(`\n## ${word === main ? name : `${name}: ${word}`}\n`)
  })

  it('have the options that a user of each broker needs first', () => {
    const page = readFileSync(join(root, 'docs/reference/options.md'), 'utf8')
    const section = (title: string): string => page.split(/^## /m).find((text) => text.startsWith(`${title}\n`)) ?? ''
    const needed = {
      rabbitmq: ['url', 'credentials', 'tls', 'exchange', 'partitions', 'groups', 'unroutable', 'topology'],
      'rabbitmq: TopologyOptions': ['exchanges', 'queues', 'bindings'],
      nats: ['url', 'jetstream', 'username', 'password', 'token', 'tls', 'leaseMs'],
      redis: ['url', 'host', 'port', 'username', 'password', 'retention'],
    }
    for (const [title, options] of Object.entries(needed))
      for (const option of options)
        expect(section(title)).toMatch(new RegExp(`^\\| \`${option}\`.*\\| .*\\w.* \\|$`, 'm'))
  })
})

describe('a source that has changed', () => {
  let folder: string

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'busbar-docs-'))
    for (const name of ['tools', 'src', 'package.json', 'docs'])
      cpSync(join(root, name), join(folder, name), { recursive: true })
    symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'))
  })

  afterEach(() => {
    rmSync(folder, { recursive: true, force: true })
  })

  it('fails with the option that has no doc comment', async () => {
    const file = join(folder, 'src/transports/redis/options.ts')
    const source = readFileSync(file, 'utf8')
    writeFileSync(
      file,
      source.replace('export interface RedisOptions {', 'export interface RedisOptions {\n  readonly bare?: string'),
    )
    await expect(generate(folder)).rejects.toThrow('src/transports/redis/options.ts: RedisOptions.bare')
  })

  it('fails the check when a page was not written again', async () => {
    const file = join(folder, 'src/core/consume/consume-options.ts')
    const source = readFileSync(file, 'utf8')
    const changed = source.replace('Default 10. */', 'Default 11. */')
    expect(changed).not.toBe(source)
    writeFileSync(file, changed)
    await expect(generate(folder, '--check')).rejects.toThrow('docs/reference/options.md is not what the sources say')
  })
})

describe('interfacesOf', () => {
  const source = `
/** What it takes. */
export interface Options extends Base {
  readonly first: string
  /** Two lines
   *  of text. */
  readonly second?: number | undefined
  /** A group. */
  readonly group?:
    | {
        readonly one?: 'a' | 'b' | undefined
        /** Not part of the type. */
        readonly two: readonly string[]
      }
    | undefined
  // A comment of ours.
  /** A method. */
  run(name: string): void
}

interface Empty {}
`

  it('reads members with their types and comments, the first one and several lines too', () => {
    const [options, empty] = interfacesOf('a.ts', source)
    expect(empty).toMatchObject({ name: 'Empty', members: [] })
    expect(options).toMatchObject({ name: 'Options', file: 'a.ts', text: 'What it takes.' })
    expect(options?.members).toEqual([
      { name: 'first', type: 'string', optional: false, text: '' },
      { name: 'second', type: 'number', optional: true, text: 'Two lines of text.' },
      {
        name: 'group',
        type: "{ readonly one?: 'a' | 'b'; readonly two: readonly string[] }",
        optional: true,
        text: 'A group.',
      },
      { name: 'run', type: '(name: string): void', optional: false, text: 'A method.' },
    ])
  })
})
