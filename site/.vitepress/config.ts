import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { defineConfig } from 'vitepress'
import type { Plugin } from 'vitepress'
import { githubSlug, sitePage, siteTarget } from '../links.ts'
import { githubMarkdown } from '../markdown.ts'
import { readNavigation } from '../navigation.ts'
import { REPOSITORY_URL, ROOT } from '../repository.ts'

const { description } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { description: string }
const [what = '', how = ''] = description.split(': ')
const sections = readNavigation()
const files = ['README.md', ...globSync('docs/**/*.md', { cwd: ROOT })]

const nav = sections.map(({ title, pages, groups }) => {
  const [first = ''] = [...pages, ...groups.flatMap((group) => group.pages)].map((page) => page.file)
  return { text: title, link: siteTarget(first), activeMatch: siteTarget(first).replace(/[^/]+$/, '') }
})

const sidebar = sections.map(({ title, pages, groups }) => ({
  text: title,
  items: [
    ...pages.map(sidebarItem),
    ...groups.map((group) => ({ text: group.title, items: group.pages.map(sidebarItem), collapsed: true })),
  ],
}))

function sidebarItem({ title, file }: { readonly title: string; readonly file: string }): {
  text: string
  link: string
} {
  return { text: title, link: siteTarget(file) }
}

/** The pages are outside of this package, where they would not find Vue to be rendered with. */
const vueOfSite: Plugin = {
  name: 'vue-of-site',
  enforce: 'pre',
  resolveId: (id, _importer, { ssr }) => (ssr === true && /^vue(?:\/|$)/.test(id) ? { id, external: true } : null),
}

export default defineConfig({
  // The pages stay where GitHub shows them: README.md is the first one, docs/ holds the others.
  srcDir: '..',
  srcExclude: ['!(docs|README.md)/**'],
  rewrites: Object.fromEntries(files.map((file) => [file, sitePage(file) ?? file])),
  outDir: 'dist',
  base: '/busbar/',
  cleanUrls: true,
  title: 'Busbar',
  description,
  markdown: { anchor: { slugify: githubSlug }, config: (md) => md.use(githubMarkdown) },
  transformPageData(page) {
    if (page.filePath !== 'README.md') return
    page.title = 'Busbar'
    page.titleTemplate = what
    page.frontmatter = {
      layout: 'home',
      hero: {
        name: 'Busbar',
        text: what,
        tagline: how,
        actions: [
          ...nav.slice(0, 2).map(({ text, link }, index) => ({ text, link, theme: index === 0 ? 'brand' : 'alt' })),
          { text: 'GitHub', link: REPOSITORY_URL, theme: 'alt' },
        ],
      },
    }
  },
  vite: { plugins: [vueOfSite] },
  themeConfig: {
    // typedoc writes the API's pages, outside of what VitePress can route to.
    nav: [...nav, { text: 'API', link: '/api/', target: '_self' }],
    sidebar,
    outline: [2, 3],
    search: { provider: 'local' },
    editLink: { pattern: `${REPOSITORY_URL}/edit/main/:path`, text: 'Edit this page on GitHub' },
    socialLinks: [{ icon: 'github', link: REPOSITORY_URL }],
  },
})
