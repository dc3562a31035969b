import { existsSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { REPOSITORY_URL, ROOT } from './repository.ts'

/**
 * What a link of `page` is on the site: a page of the site, or a file or folder on GitHub. Links to other places stay as
 * they are. Throws when the repository has no such file.
 */
export function siteLink(page: string, href: string): string {
  const blob = `${REPOSITORY_URL}/blob/main/`
  if (!href.startsWith(blob) && /^(?:[a-z]+:|#)/.test(href)) return href
  const [path = '', fragment] = href.split('#', 2)
  const file = path.startsWith(blob) ? path.slice(blob.length) : join(dirname(page), path)
  if (!existsSync(join(ROOT, file))) throw new Error(`${page} links to ${href}, which is not in the repository`)
  return siteTarget(file) + (fragment === undefined ? '' : `#${fragment}`)
}

/** Where the site has a file of the repository; what is no page of the site is on GitHub. */
export function siteTarget(file: string): string {
  const page = sitePage(file)
  if (page !== undefined) return `/${page.replace(/(?:(?<=^|\/)index)?\.md$/, '')}`
  const kind = statSync(join(ROOT, file)).isDirectory() ? 'tree' : 'blob'
  return `${REPOSITORY_URL}/${kind}/main/${file.replace(/\/$/, '')}`
}

/** The page of the site that a file of the repository becomes; undefined when it is none. */
export function sitePage(file: string): string | undefined {
  if (file === 'README.md') return 'index.md'
  if (file === 'docs/README.md') return 'contents.md'
  const [, name] = /^docs\/(.*)\.md$/.exec(file) ?? []
  if (name === undefined) return undefined
  // A page with a folder of the same name is its index: for `/name`, a web server may look into the folder.
  return existsSync(join(ROOT, 'docs', name)) ? `${name}/index.md` : `${name}.md`
}

/** The anchor that GitHub gives to a heading, so that a link to it works in both places. */
export function githubSlug(heading: string): string {
  return heading
    .trim()
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\p{M}_ -]/gu, '')
    .replaceAll(' ', '-')
}
