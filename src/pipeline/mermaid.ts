import type { Node } from './graph.ts'
import type { Entry } from './options.ts'

/** A flow chart of the stages, for a Markdown page. */
export function mermaidOf(entries: readonly Entry[], nodes: readonly Node[]): string {
  const ids = new Map(nodes.map((node, index) => [node, `s${index}`]))
  const lines = ['flowchart LR']
  let sources = 0
  for (const { sources: from, first } of entries)
    for (const source of from) {
      const id = `f${sources++}`
      const name = source.kind === 'iterable' ? 'iterable' : topicOf(source.target)
      lines.push(`  ${id}([${quoted(name)}]) --> ${ids.get(first)}`)
    }
  for (const node of nodes) lines.push(`  ${ids.get(node)}${shape(node)}`)
  for (const node of nodes) {
    for (const { name, first } of node.cases) lines.push(`  ${ids.get(node)} -- ${quoted(name)} --> ${ids.get(first)}`)
    if (node.next !== undefined) lines.push(`  ${ids.get(node)} --> ${ids.get(node.next)}`)
    if (node.caughtBy !== undefined) lines.push(`  ${ids.get(node)} -. failed .-> ${ids.get(node.caughtBy)}`)
  }
  return `${lines.join('\n')}\n`
}

function shape({ name, kind }: Node): string {
  if (kind === 'branch') return `{${quoted(name)}}`
  return kind === 'to' || kind === 'ack' ? `([${quoted(name)}])` : `[${quoted(name)}]`
}

function topicOf(target: string | { readonly topic: string }): string {
  return typeof target === 'string' ? target : target.topic
}

function quoted(text: string): string {
  return `"${text.replaceAll('"', '#quot;')}"`
}
