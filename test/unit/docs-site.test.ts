import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { githubSlug, siteLink } from '../../site/links.ts'
import { readNavigation } from '../../site/navigation.ts'

const root = join(import.meta.dirname, '../..')

describe('the navigation', () => {
  it('has every page of docs/ once', () => {
    const listed = readNavigation().flatMap(({ pages, groups }) =>
      [...pages, ...groups.flatMap((group) => group.pages)].map(({ file }) => file),
    )
    const pages = globSync('docs/**/*.md', { cwd: root }).filter((page) => page !== join('docs', 'README.md'))
    expect(listed.toSorted()).toEqual(pages.toSorted())
  })

  it('is what docs/README.md says: sections, groups within them, pages', () => {
    const text = `
# Documentation

See [one](how-to/one.md).

## How to

- [One](how-to/one.md): and what it is about
- [Elsewhere](https://example.org/x.md)

### Later

- [Two](how-to/two.md)

## Reference
`
    expect(readNavigation(text)).toEqual([
      {
        title: 'How to',
        pages: [{ title: 'One', file: 'docs/how-to/one.md' }],
        groups: [{ title: 'Later', pages: [{ title: 'Two', file: 'docs/how-to/two.md' }] }],
      },
      { title: 'Reference', pages: [], groups: [] },
    ])
  })
})

describe('a link on the site', () => {
  const repository = 'https://github.com/busbar-dev/busbar'
  const page = 'docs/how-to/migrate.md'

  it.each([
    ['wildcards.md', '/how-to/wildcards'],
    ['../reference/options.md#redis', '/reference/options#redis'],
    ['../reference/transports.md', '/reference/transports/'],
    ['../README.md', '/contents'],
    ['../../README.md', '/'],
    ['../../DESIGN.md', `${repository}/blob/main/DESIGN.md`],
    ['../../examples/order-flow/', `${repository}/tree/main/examples/order-flow`],
    [`${repository}/blob/main/docs/tutorial/order-flow.md`, '/tutorial/order-flow'],
    [`${repository}/issues`, `${repository}/issues`],
    ['#bullmq', '#bullmq'],
  ])('to %s leads to %s', (href, target) => {
    expect(siteLink(page, href)).toBe(target)
  })

  it('to a file that is not there fails the build', () => {
    expect(() => siteLink(page, '../how-to/nowhere.md')).toThrow('docs/how-to/migrate.md links to ../how-to/nowhere.md')
  })
})

describe('githubSlug', () => {
  it.each([
    ['What uses an attempt', 'what-uses-an-attempt'],
    ['bus.snapshot()', 'bussnapshot'],
    ['rabbitmq: TopologyOptions', 'rabbitmq-topologyoptions'],
    ['Reliability, measured: 2 of 3 – Ü', 'reliability-measured-2-of-3--ü'],
  ])('makes of %s what GitHub makes', (heading, slug) => {
    expect(githubSlug(heading)).toBe(slug)
  })

  it('leads every link within the docs to a heading', () => {
    const missing: string[] = []
    for (const file of ['README.md', ...globSync('docs/**/*.md', { cwd: root })])
      for (const [, path = '', fragment = ''] of read(file).matchAll(/\]\((?!https?:)([^)#\s]*)#([^)\s]+)\)/g)) {
        const target = path === '' ? file : join(file, '..', path)
        if (!anchors(target).includes(fragment)) missing.push(`${file}: ${path}#${fragment}`)
      }
    expect(missing).toEqual([])
  })
})

function anchors(page: string): string[] {
  return [...read(page).matchAll(/^#{1,6} (.+)$/gm)].map(([, heading = '']) => githubSlug(heading))
}

/** The page without its blocks of code, where a # is a comment. */
function read(page: string): string {
  return readFileSync(join(root, page), 'utf8').replace(/```.*?```/gs, '')
}
