import { relative } from 'node:path'
import { siteLink } from './links.ts'
import { ROOT } from './repository.ts'

/** What is used of markdown-it, which VitePress brings along. */
interface MarkdownIt {
  readonly core: {
    readonly ruler: { push(name: string, rule: (state: { tokens: Token[]; env: Environment }) => void): void }
  }
}

interface Token {
  type: string
  /** Of a fenced block: its language. */
  readonly info: string
  content: string
  readonly children: Token[] | null
  attrGet(name: string): string | null
  attrSet(name: string, value: string): void
}

interface Environment {
  readonly path: string
  /** Where the file is, when the site shows it elsewhere. */
  readonly realPath?: string
}

/** A plugin for markdown-it: pages that are written for GitHub look and link the same on the site. */
export function githubMarkdown(md: MarkdownIt): void {
  md.core.ruler.push('github-markdown', ({ tokens, env }) => {
    const page = relative(ROOT, env.realPath ?? env.path)
    // The landing page shows its title larger, above the text.
    if (page === 'README.md' && tokens[0]?.type === 'heading_open') tokens.splice(0, 3)
    for (const token of tokens) {
      // The theme draws it; without JavaScript it stays text, as everywhere but on GitHub.
      if (token.type === 'fence' && token.info === 'mermaid') {
        token.type = 'html_block'
        token.content = `<pre class="mermaid" v-pre>${escaped(token.content)}</pre>\n`
      }
      // VitePress styles fenced blocks alone, and would run `{{ }}` of an indented one as code.
      if (token.type === 'code_block') token.type = 'fence'
      for (const child of token.children ?? []) {
        if (child.type === 'link_open') child.attrSet('href', siteLink(page, child.attrGet('href') ?? ''))
        if (child.type === 'text' && child.content.includes('{{'))
          throw new Error(`${page} has {{ in its text, which VitePress takes for code: put it in backticks`)
      }
    }
  })
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}
