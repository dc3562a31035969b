import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

/** A member of an interface, with its doc comment as one line. */
export interface Member {
  readonly name: string
  readonly type: string
  readonly optional: boolean
  /** Empty when there is none. */
  readonly text: string
}

/** One of our interfaces, as in its source. */
export interface Interface {
  readonly name: string
  /** Its file, from the root of the project. */
  readonly file: string
  readonly text: string
  readonly members: readonly Member[]
}

const HEAD = /^(?:export )?interface (?<name>\w+)(?:<[^{]*>)?(?: extends [^{]+)? \{(?<empty>\})?$/
const MEMBER = /^ {2}(?:readonly )?(?<name>\w+)(?<optional>\?)?(?<method>[(<])?(?:: )?(?<rest>.*)$/

/** The interfaces of a file. Our sources are formatted by prettier, so indentation is reliable. */
export function interfacesOf(file: string, source: string): Interface[] {
  const lines = source.split('\n')
  const found: Interface[] = []
  for (let at = 0; at < lines.length; at++) {
    const head = HEAD.exec(lines[at] as string)?.groups
    if (head === undefined) continue
    const end = head['empty'] === undefined ? lines.indexOf('}', at) : at
    found.push({
      name: head['name'] ?? '',
      file,
      text: commentBefore(lines, at),
      members: membersOf(lines.slice(at + 1, end)),
    })
    at = end
  }
  return found
}

/** The interfaces of all matching files, by name. */
export function readInterfaces(root: string, pattern: string): ReadonlyMap<string, Interface> {
  const files = globSync(pattern, { cwd: root }).sort()
  const all = files.flatMap((file) => interfacesOf(file, readFileSync(join(root, file), 'utf8')))
  return new Map(all.map((found) => [found.name, found]))
}

function membersOf(lines: readonly string[]): Member[] {
  const members: Member[] = []
  for (let at = 0; at < lines.length; at++) {
    const groups = MEMBER.exec(lines[at] as string)?.groups
    if (groups === undefined) continue
    const text = commentBefore(lines, at)
    // What follows is indented further, or closes what the member has opened.
    const parts = [(groups['method'] ?? '') + (groups['rest'] ?? '')]
    while (/^( {4}|  [})\]|])/.test(lines[at + 1] ?? '')) parts.push(lines[++at] as string)
    members.push({
      name: groups['name'] ?? '',
      type: typeText(parts.join('\n')),
      optional: groups['optional'] !== undefined,
      text,
    })
  }
  return members
}

/** The type as one line, without comments and without the `undefined` that a question mark already implies. */
function typeText(source: string): string {
  return source
    .replace(/\/\*\*[\s\S]*?\*\/|\/\/.*$/gm, '')
    .replace(/^:?\s*/, '')
    .replace(/([^{|&;\s])\s*\n\s*(?=(?:readonly )?\w+\??:)/g, '$1; ')
    .replace(/\s+/g, ' ')
    .replace(/^\| /, '')
    .replace(/(\?: [^;{}]*?) \| undefined/g, '$1')
    .replace(/ \| undefined$/, '')
    .trim()
}

/** The doc comment that ends right above the line. */
function commentBefore(lines: readonly string[], at: number): string {
  if (lines[at - 1]?.endsWith('*/') !== true) return ''
  let start = at - 1
  while (start > 0 && !/^\s*\/\*\*/.test(lines[start] as string)) start--
  return lines
    .slice(start, at)
    .map((line) => line.replace(/^\s*(\/\*\*|\*\/|\*)?\s?/, '').replace(/\s*\*\/$/, ''))
    .join(' ')
    .replace(/\s+/g, ' ')
    .trim()
}
