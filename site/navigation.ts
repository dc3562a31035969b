import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT } from './repository.ts'

export interface NavigationPage {
  readonly title: string
  /** Its path in the repository. */
  readonly file: string
}

export interface NavigationGroup {
  readonly title: string
  readonly pages: NavigationPage[]
}

export interface NavigationSection extends NavigationGroup {
  readonly groups: NavigationGroup[]
}

/**
 * The navigation of the site is docs/README.md: a section for each heading of level two, a group within it for each of
 * level three, a page for each item of a list that begins with a link to one.
 */
export function readNavigation(text: string = readFileSync(join(ROOT, 'docs/README.md'), 'utf8')): NavigationSection[] {
  const sections: NavigationSection[] = []
  let current: NavigationGroup | undefined
  for (const [, level, heading = '', title = '', target = ''] of text.matchAll(
    /^(##|###) (.+)$|^- \[([^\]]+)\]\(([^):]+\.md)\)/gm,
  )) {
    if (level === '##') {
      const section = { title: heading, pages: [], groups: [] }
      sections.push(section)
      current = section
    } else if (level === '###') {
      const group = { title: heading, pages: [] }
      sections.at(-1)?.groups.push(group)
      current = group
    } else current?.pages.push({ title, file: join('docs', target) })
  }
  return sections
}
