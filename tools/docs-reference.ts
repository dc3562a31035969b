// Writes the reference pages that repeat what the sources say: options, errors, events.
//
//     npm run docs:reference            write them
//     npm run docs:reference -- --check fail when they are not up to date (a test does this)

import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))

interface Table {
  readonly title: string
  readonly file: string
  readonly name: string
  /** What to say before the table. */
  readonly intro: string
}

const OPTIONS: readonly Table[] = [
  { title: 'createBus', file: 'src/core/bus-types.ts', name: 'BusOptions', intro: 'Checked when the bus is made.' },
  {
    title: 'createBus: publish',
    file: 'src/core/bus-types.ts',
    name: 'PublisherOptions',
    intro: 'Bounds of the way out.',
  },
  {
    title: 'bus.consume, defineConsumer',
    file: 'src/core/consume-options.ts',
    name: 'ConsumeOptions',
    intro: 'Checked when the consumer is added, against the transport as well.',
  },
  {
    title: 'bus.consume: batches',
    file: 'src/core/consume-options.ts',
    name: 'BatchConsumeOptions',
    intro: 'With a batch handler. And those above.',
  },
  {
    title: 'bus.consume: retry',
    file: 'src/core/consume-options.ts',
    name: 'RetryOptions',
    intro: '`retry: false` stands for one attempt.',
  },
  {
    title: 'bus.publish, ctx.publish',
    file: 'src/core/publish-options.ts',
    name: 'PublishOptions',
    intro: 'An item of `publishMany` takes the same, but for `transport` and `signal`, and its `data`.',
  },
  { title: 'defineEvent', file: 'src/core/define.ts', name: 'EventOptions', intro: '' },
  { title: 'deadLetters().list, purge', file: 'src/core/bus-types.ts', name: 'DeadLetterSelection', intro: '' },
  {
    title: 'deadLetters().redrive',
    file: 'src/core/bus-types.ts',
    name: 'RedriveOptions',
    intro: 'And those of `list`.',
  },
]

interface Member {
  readonly name: string
  readonly type: string
  readonly optional: boolean
  readonly text: string
}

const DOC = String.raw`(?:/\*\*(?<doc>(?:(?!\*/)[\s\S])*)\*/\s*)?`
const MEMBER = new RegExp(
  `${DOC}(?<=\\n {2})(?:readonly )?(?<name>[A-Za-z]+)(?<optional>\\?)?: (?<type>(?:[^\\n{]|\\{[^}\\n]*\\})+(?:\\n {4,}[^\\n]+)*)`,
  'g',
)

/** The members of an interface or type of ours, with their doc comments. Our sources are formatted, so lines can be relied on. */
function members(file: string, name: string): Member[] {
  const source = readFileSync(join(root, file), 'utf8')
  const start = source.search(new RegExp(`^export interface ${name}\\b`, 'm'))
  if (start < 0) throw new Error(`${file} has no interface ${name}`)
  const body = source.slice(source.indexOf('{\n', start) + 2, source.indexOf('\n}', start) + 1)
  return [...body.matchAll(MEMBER)].map(({ groups = {} }) => ({
    name: groups['name'] ?? '',
    type: (groups['type'] ?? '')
      .replace(/\s+/g, ' ')
      .replace(/ \| undefined$/, '')
      .replace(/;$/, '')
      .trim(),
    optional: groups['optional'] !== undefined,
    text: plain(groups['doc']),
  }))
}

/** A doc comment as one line. */
function plain(doc: string | undefined): string {
  return (doc ?? '')
    .replace(/^\s*\* ?/gm, ' ')
    .replace(/\s+/g, ' ')
    .trim()
}

function cell(text: string): string {
  return text.replaceAll('|', String.raw`\|`)
}

/** One table for each transport that the package exports: the first options interface of its file. */
function transportTables(): Table[] {
  const { exports } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
    exports: Record<string, { 'busbar-source'?: string } | string>
  }
  return Object.values(exports).flatMap((entry) => {
    const folder = /^\.\/(src\/transports\/(\w+))\/index\.ts$/.exec(
      typeof entry === 'string' ? '' : (entry['busbar-source'] ?? ''),
    )
    if (folder === null) return []
    const file = `${folder[1] ?? ''}/options.ts`
    const name = /^export interface (?!Resolved)(\w+Options)\b/m.exec(readFileSync(join(root, file), 'utf8'))?.[1]
    if (name === undefined) throw new Error(`${file} has no options interface`)
    return [{ title: folder[2] ?? '', file, name, intro: '' }]
  })
}

function optionsPage(): string {
  const tables = [...OPTIONS, ...transportTables()].map(({ title, file, name, intro }) => {
    const rows = members(file, name).map(
      (member) =>
        `| \`${member.name}\`${member.optional ? '' : ' (required)'} | \`${cell(member.type)}\` | ${cell(member.text)} |`,
    )
    return [
      `## ${title}`,
      '',
      ...(intro === '' ? [] : [intro, '']),
      '| option | type | |',
      '|---|---|---|',
      ...rows,
      '',
    ].join('\n')
  })
  const intro =
    'Durations end in `Ms`, sizes in `Bytes`. Unknown keys and wrong types are refused, all of them in one `ConfigurationError`.'
  return page('Options', [intro, '', ...tables])
}

function errorsPage(): string {
  const source = readFileSync(join(root, 'src/core/errors.ts'), 'utf8')
  const classes =
    /\/\*\*(?<doc>(?:(?!\*\/)[\s\S])*)\*\/\s*export class (?<name>\w+) extends \w+ \{(?<body>[\s\S]*?)\n\}/g
  const rows = [...source.matchAll(classes)].map(({ groups = {} }) => {
    const code = /'(BUSBAR_\w+)'/.exec(groups['body'] ?? '')?.[1]
    return `| \`${groups['name'] ?? ''}\` | ${code === undefined ? '' : `\`${code}\``} | ${cell(plain(groups['doc']))} |`
  })
  const intro = [
    'Everything that Busbar itself throws is one of these. Branch on `error.code`, or ask the class: `PublishError.is(error)`,',
    'which also holds when two copies of the package are in one process. `error.retryable` says whether the same call can',
    'succeed later. An error thrown by your handler is never wrapped: events, `retryIf` and dead letters see it as it is.',
  ].join('\n')
  return page('Errors', [intro, '', '| class | code | |', '|---|---|---|', ...rows, ''])
}

function eventsPage(): string {
  const rows = members('src/core/events.ts', 'BusEventMap').map(({ name, text }) => `| \`${name}\` | ${cell(text)} |`)
  const intro = [
    "    const off = bus.events.on('retry', ({ message, attempt, error, delayMs }) => …)   // off() ends it",
    '    bus.events.onAny((name, event) => log.info(event, name))',
    "    await bus.events.once('connect')",
    '',
    'Events cost nothing while nobody listens. A listener that throws is logged and harms nothing else. Every payload names the',
    '`transport`; those of a consumer its `topic`, `group` and `consumerId`; those of a message the `message` and its `attempt`.',
  ].join('\n')
  return page('Events', [intro, '', '| event | when |', '|---|---|', ...rows, ''])
}

function page(title: string, lines: readonly string[]): string {
  return [
    `# ${title}`,
    '',
    '<!-- Written by `npm run docs:reference` from the sources. Change those. -->',
    '',
    ...lines,
  ].join('\n')
}

const PAGES: Readonly<Record<string, () => string>> = {
  'options.md': optionsPage,
  'errors.md': errorsPage,
  'events.md': eventsPage,
}

const check = process.argv.includes('--check')
for (const [name, make] of Object.entries(PAGES)) {
  const path = join(root, 'docs/reference', name)
  const text = make()
  if (!check) writeFileSync(path, text)
  else if (!existsSync(path) || readFileSync(path, 'utf8') !== text) {
    console.error(`docs/reference/${name} is not what the sources say: run npm run docs:reference`)
    process.exitCode = 1
  }
}
