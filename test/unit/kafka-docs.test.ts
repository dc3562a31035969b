import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { createClient } from '../../src/kafka/index.ts'

const root = join(import.meta.dirname, '../..')

function read(file: string): string {
  return readFileSync(join(root, file), 'utf8')
}

interface Row {
  readonly feature: string
  readonly proofs: readonly { readonly file: string; readonly title: string }[]
}

/** The rows of the tables in docs/kafka/features.md. */
function features(): readonly Row[] {
  const rows = [...read('docs/kafka/features.md').matchAll(/^\| (?!feature|-)([^|]+) \|([^|]*)\| (.*) \|$/gm)]
  return rows.map(([, feature = '', , tests = '']) => ({
    feature,
    proofs: [...tests.matchAll(/\]\(\.\.\/\.\.\/(test\/[^)]+)\) “([^”]+)”/g)].map(([, file = '', title = '']) => ({
      file,
      title,
    })),
  }))
}

describe('the table of features of the Kafka client', () => {
  it('has many', () => {
    expect(features().length).toBeGreaterThan(50)
  })

  it.each(features())('$feature: is proven by tests that are there', ({ proofs }) => {
    expect(proofs).not.toEqual([])
    for (const { file, title } of proofs) expect(read(file), file).toContain(title)
  })
})

describe('the page of errors of the Kafka client', () => {
  it('has every code that the client gives', () => {
    const page = read('docs/kafka/errors.md')
    const given = globSync('src/kafka/**/*.ts', { cwd: root })
      .filter((file) => !/generated|error-codes/.test(file))
      .flatMap((file) => [
        ...read(file).matchAll(/(?:code: |notSent\(|(?:Error|cluster|connection)Error\()'([A-Z_]+)'/g),
      ])
      .map(([, code = '']) => code)
    expect(given.length).toBeGreaterThan(30)
    expect([...new Set(given)].filter((code) => !page.includes(`\`${code}\``))).toEqual([])
  })
})

describe('the pages of the Kafka client', () => {
  it('quote every example', () => {
    const pages = globSync('docs/kafka/*.md', { cwd: root }).map(read).join('\n')
    for (const file of globSync('examples/kafka/*.ts', { cwd: root })) expect(pages).toContain(`<!-- ${file} -->`)
  })

  it.each(globSync('examples/kafka/*.ts', { cwd: root }))('close the client whatever happens: %s', (file) => {
    expect(read(file)).toMatch(/^\} finally \{\n {2}await kafka\.close\(\)/m)
  })

  it('show KafkaJS code and ours for producer, consumer, admin and transactions', () => {
    const sections = read('docs/kafka/from-kafkajs.md').split(/^## /m)
    for (const name of [
      'Producer',
      'Consumer, record by record',
      'Consumer, batch by batch',
      'Admin',
      'Transactions',
    ]) {
      const section = sections.find((text) => text.startsWith(`${name}\n`)) ?? ''
      expect(section, name).toMatch(/^KafkaJS:\n\n```js\n/m)
      expect(section, name).toMatch(/^Here[^\n]*:\n\n<!-- examples\/kafka\/[\w-]+\.ts -->\n```ts\n/m)
    }
  })

  it('show every call of the admin client', async () => {
    const kafka = createClient({ brokers: ['localhost'] })
    const page = read('docs/kafka/admin.md')
    for (const [part, methods] of Object.entries(kafka.admin())) {
      const section = page.split(/^##+ /m).find((text) => text.startsWith(`admin.${part}\n`)) ?? ''
      const names = Object.getOwnPropertyNames(Object.getPrototypeOf(methods)).filter((name) => name !== 'constructor')
      expect(names.filter((name) => !section.includes(`| \`${name}(`))).toEqual([])
    }
    await kafka.close()
  })

  it('name every hook', () => {
    const page = read('docs/kafka/hooks.md')
    const names = [...read('src/kafka/client-hooks.ts').matchAll(/'(on[A-Z]\w+)'/g)].map(([, name]) => name)
    expect(names.length).toBe(7)
    for (const name of names) expect(page).toContain(`| \`${name}\` |`)
  })
})
