import { existsSync, readFileSync } from 'node:fs'
import { globSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, it } from 'vitest'

const root = join(import.meta.dirname, '../..')
const pages = ['README.md', ...globSync('docs/**/*.md', { cwd: root })]

interface Quote {
  readonly page: string
  readonly file: string
  readonly code: string
}

/** Blocks of code that follow `<!-- examples/x.ts -->`: they quote that file. */
function quotes(page: string): Quote[] {
  const text = readFileSync(join(root, page), 'utf8')
  const found = text.matchAll(/<!-- (examples\/\S+)[^>]*-->\s*```ts\n(.*?)```/gs)
  return [...found].map(([, file = '', code = '']) => ({ page, file, code }))
}

/** How the README names files of the repository: it is read on npm, too. */
const REPOSITORY = 'https://github.com/busbar-dev/busbar/blob/main/'

/** Targets of links within the repository, from its root. */
function links(page: string): string[] {
  const text = readFileSync(join(root, page), 'utf8').replace(/```.*?```/gs, '')
  return [...text.matchAll(/\]\(([^)\s]+)\)/g)]
    .map(([, target = '']) => target.replace(/#.*$/, ''))
    .filter((target) => target !== '')
    .flatMap((target) => {
      if (target.startsWith(REPOSITORY)) return target.slice(REPOSITORY.length)
      return /^[a-z]+:/.test(target) ? [] : join(dirname(page), target)
    })
}

describe('the pages for users', () => {
  it('quote the examples that are run in the tests', () => {
    const all = pages.flatMap(quotes)
    expect(all.map((quote) => quote.file)).toEqual(
      expect.arrayContaining(['examples/readme/main.ts', 'examples/first-message/hello.ts']),
    )
    for (const { page, file, code } of all)
      expect(code, `${page} quotes ${file}`).toBe(readFileSync(join(root, file), 'utf8'))
  })

  it('quote every example of the how-to pages and the patterns', () => {
    const quoted = new Set(pages.flatMap(quotes).map((quote) => quote.file))
    for (const file of globSync('examples/{how-to,patterns}/*.ts', { cwd: root })) expect([...quoted]).toContain(file)
  })

  it('have a README whose links work on npm', () => {
    const text = readFileSync(join(root, 'README.md'), 'utf8')
    expect([...text.matchAll(/\]\((?!https:)[^)]*\)/g)].map(String)).toEqual([])
    expect(links('README.md')).toContain('docs/README.md')
    expect(links('README.md').length).toBeGreaterThan(15)
  })

  it.each(['README.md', 'docs/how-to/use-in-your-project.md', 'docs/kafka/quick-start.md'])(
    '%s says that a new project must be one of ES modules',
    (page) => {
      const text = readFileSync(join(root, page), 'utf8')
      expect(text).toContain('npm pkg set type=module')
      // What its examples import must be installed.
      if (text.includes("from 'zod'")) expect(text).toMatch(/npm install .*busbar\.git zod/)
    },
  )

  it('have a README of two screens', () => {
    expect(readFileSync(join(root, 'README.md'), 'utf8').split('\n').length).toBeLessThanOrEqual(95)
  })

  it.each(pages)('%s links to pages that are there', (page) => {
    for (const target of links(page)) expect(existsSync(join(root, target)), target).toBe(true)
  })
})
