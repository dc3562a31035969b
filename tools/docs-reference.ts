// Writes the reference pages that are generated from the sources: options, errors, events; those of the Kafka client too.
//
//     npm run docs:reference            write them
//     npm run docs:reference -- --check fail when they are not up to date (a test does this)

import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { kafkaErrors, kafkaOptions } from './docs-kafka.ts'
import { readInterfaces } from './interface-reader.ts'
import type { Interface } from './interface-reader.ts'

const root = dirname(dirname(fileURLToPath(import.meta.url)))

interface Table {
  readonly title: string
  readonly name: string
  /** Text above the table. */
  readonly intro: string
}

const OPTIONS: readonly Table[] = [
  { title: 'createBus', name: 'BusOptions', intro: 'Checked when the bus is made.' },
  {
    title: 'createBus: publish',
    name: 'PublisherOptions',
    intro: 'Bounds of the way out.',
  },
  {
    title: 'bus.consume, defineConsumer',
    name: 'ConsumeOptions',
    intro: 'Checked when the consumer is added, against the transport as well.',
  },
  {
    title: 'bus.consume: batches',
    name: 'BatchConsumeOptions',
    intro: 'With a batch handler. And those above.',
  },
  {
    title: 'bus.consume: retry',
    name: 'RetryOptions',
    intro: '`retry: false` stands for one attempt.',
  },
  {
    title: 'bus.publish, ctx.publish',
    name: 'PublishOptions',
    intro: 'An item of `publishMany` takes the same, but for `transport` and `signal`, and its `data`.',
  },
  { title: 'bus.start', name: 'StartOptions', intro: '' },
  { title: 'bus.close, consumer.close', name: 'CloseOptions', intro: '' },
  { title: 'defineEvent', name: 'EventOptions', intro: '' },
  { title: 'deadLetters().list, purge', name: 'DeadLetterSelection', intro: '' },
  {
    title: 'deadLetters().redrive',
    name: 'RedriveOptions',
    intro: 'And those of `list`.',
  },
]

function rowsOf(found: Interface): string[] {
  return found.members.map(
    ({ name, type, optional, text }) =>
      `| \`${name}\`${optional ? '' : ' (required)'} | \`${cell(type)}\` | ${cell(text)} |`,
  )
}

/** Returns a doc comment as one line. */
function plain(doc: string | undefined): string {
  return (doc ?? '')
    .replace(/^\s*\* ?/gm, ' ')
    .replace(/\s+/g, ' ')
    .trim()
}

function cell(text: string): string {
  return text.replaceAll('|', String.raw`\|`)
}

interface Section {
  readonly title: string
  readonly intro: string
  readonly interface: Interface
}

/** Tables of one transport: the options of its function first, then everything else that a user writes. */
function transportSections(name: string): Section[] {
  const folder = `src/transports/${name}`
  const index = readFileSync(join(root, folder, 'index.ts'), 'utf8')
  const main = new RegExp(`^export function ${name}\\(options\\??: (\\w+)`, 'm').exec(index)?.[1]
  if (main === undefined) throw new Error(`${folder}/index.ts has no function ${name}(options)`)
  const all = readInterfaces(root, `${folder}/**/*.ts`)
  const exported = [...index.matchAll(/^export type \{([^}]*)\}/gm)].flatMap(
    ([, names = '']) => names.match(/\w+/g) ?? [],
  )
  // Reachable from the options through exported interfaces, and those that options of core (`native`) or methods take.
  const names = new Set([main])
  for (const reached of names)
    for (const word of all.get(reached)?.members.flatMap(({ type }) => type.match(/\b[A-Z]\w+/g) ?? []) ?? [])
      if (exported.includes(word) && isWritten(all.get(word))) names.add(word)
  for (const word of exported) if (word.endsWith('Options')) names.add(word)
  return [...names].map((word) => {
    const found = all.get(word)
    if (found === undefined) throw new Error(`${folder} has no interface ${word}`)
    return {
      title: word === main ? name : `${name}: ${word}`,
      intro: word === main ? '' : found.text,
      interface: found,
    }
  })
}

/** True for plain data; an object with methods, such as a client, comes from elsewhere. */
function isWritten(found: Interface | undefined): boolean {
  return found?.members.every(({ type }) => !type.startsWith('(')) ?? false
}

/** The transports that the package exports. */
function transportNames(): string[] {
  const { exports } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
    exports: Record<string, { 'busbar-source'?: string } | string>
  }
  return Object.values(exports).flatMap((entry) => {
    const source = typeof entry === 'string' ? undefined : entry['busbar-source']
    return /^\.\/src\/transports\/(\w+)\/index\.ts$/.exec(source ?? '')?.[1] ?? []
  })
}

/** Throws with all members that have no doc comment: the page would have no text for them. */
function requireTexts(interfaces: readonly Interface[]): void {
  const bare = interfaces.flatMap(({ file, name, members }) =>
    members.filter(({ text }) => text === '').map((member) => `${file}: ${name}.${member.name}`),
  )
  if (bare.length > 0) throw new Error(`no doc comment:\n  ${bare.join('\n  ')}`)
}

function optionsPage(): string {
  const core = readInterfaces(root, 'src/core/**/*.ts')
  const sections = [
    ...OPTIONS.map(({ title, name, intro }) => ({ title, intro, interface: required(core, name) })),
    ...transportNames().flatMap(transportSections),
  ]
  requireTexts(sections.map((section) => section.interface))
  const tables = sections.map(({ title, intro, interface: found }) =>
    [
      `## ${title}`,
      '',
      ...(intro === '' ? [] : [intro, '']),
      '| option | type | |',
      '|---|---|---|',
      ...rowsOf(found),
      '',
    ].join('\n'),
  )
  const intro =
    'Durations end in `Ms`, sizes in `Bytes`. Unknown keys and wrong types are refused, all of them in one `ConfigurationError`.'
  return page('Options', [intro, '', sharedOptions(), ...tables])
}

/** What several transports have an option for, and its one name. */
const SHARED_OPTIONS: Readonly<Record<string, string>> = {
  url: 'where the broker is, with options as parameters',
  client: 'a client of the broker that is connected already; Busbar does not close it',
  connectionName: "name of the connection in the broker's lists",
  username: 'who logs in',
  password: 'and how',
  tls: 'certificates',
  connectTimeoutMs: 'maximum duration of one attempt to connect',
  heartbeatMs: 'a connection that is silent for about two of these is closed',
  reconnect: 'pauses between attempts: `{ minMs, maxMs }`',
  leaseMs: 'how long after a process died its messages go to others',
  pollIntervalMs: 'interval of looks at what nothing announces',
  handoverTimeoutMs: 'how long handlers may take to finish before their partition goes to another member',
  maxInFlight: 'number of publishes that wait for the broker; more wait in this process',
  maxMessageBytes: 'largest message',
  envelope: 'how attributes of messages are written',
  partitions: 'number of parts that a topic is divided into, each in order',
  maxAgeMs: 'how long messages are kept',
  maxBytes: 'how much is kept',
  keepUnacked: 'whether messages that a group has not acked are kept beyond the limits',
  deadLetterMaxAgeMs: 'how long dead letters are kept',
  native: 'settings of the client library, at your own risk',
}

/** Which of the shared options each transport has, and where. */
function sharedOptions(): string {
  const names = transportNames()
  const columns = names.map((name) => {
    const [main] = transportSections(name)
    const all = readInterfaces(root, `src/transports/${name}/*.ts`)
    return (option: string): string => pathsOf(option, main?.interface, all)
  })
  const rows = Object.entries(SHARED_OPTIONS).map(
    ([option, text]) => `| ${[text, ...columns.map((path) => path(option))].join(' | ')} |`,
  )
  return [
    '## The same option in each transport',
    '',
    `| | ${names.join(' | ')} |`,
    `|---|${names.map(() => '---|').join('')}`,
    ...rows,
    '',
  ].join('\n')
}

/** An option of the transport itself, or of an object that one of its options is. */
function pathsOf(option: string, main: Interface | undefined, all: ReadonlyMap<string, Interface>): string {
  const members = main?.members ?? []
  if (members.some(({ name }) => name === option)) return `\`${option}\``
  const inner = members.filter(({ type }) =>
    (type.match(/\b[A-Z]\w+/g) ?? []).some((word) => all.get(word)?.members.some(({ name }) => name === option)),
  )
  return inner.map(({ name }) => `\`${name}.${option}\``).join(', ')
}

function required(interfaces: ReadonlyMap<string, Interface>, name: string): Interface {
  const found = interfaces.get(name)
  if (found === undefined) throw new Error(`there is no interface ${name}`)
  return found
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
  const map = required(readInterfaces(root, 'src/core/events.ts'), 'BusEventMap')
  requireTexts([map])
  const rows = map.members.map(({ name, type, text }) => `| \`${name}\` | ${cell(text)} | ${payloadOf(type)} |`)
  const intro = [
    "    const off = bus.events.on('retry', ({ message, attempt, error, delayMs }) => …)   // off() ends it",
    '    bus.events.onAny((name, event) => log.info(event, name))',
    "    await bus.events.once('connect')",
    '',
    'Events without a listener cost nothing. A listener that throws is logged and has no other effect. Every payload names the',
    '`transport`; those of a consumer its `topic`, `group` and `consumerId`; those of a message the `message` and its `attempt`.',
  ].join('\n')
  return page('Events', [intro, '', '| event | when | and besides |', '|---|---|---|', ...rows, ''])
}

/** Fields of a payload besides `transport`, in TypeScript. */
function payloadOf(type: string): string {
  const shared: Readonly<Record<string, readonly string[]>> = {
    EventOfTransport: [],
    EventOfConsumer: ['those of a consumer'],
    EventOfMessage: ['those of a message'],
  }
  const [, base = '', own = ''] = /^(\w+)(?: & \{(.*)\})?$/.exec(type) ?? []
  const first = shared[base]
  if (first === undefined) throw new Error(`an event has the payload ${type}, which is not understood`)
  const fields = own.split(';').map((field) => field.trim().replace(/^readonly /, ''))
  return [...first, ...fields.filter((field) => field !== '').map((field) => `\`${cell(field)}\``)].join(', ')
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
  'reference/options.md': optionsPage,
  'reference/errors.md': errorsPage,
  'reference/events.md': eventsPage,
  'kafka/options.md': () => page('Options of the Kafka client', kafkaOptions(root)),
  'kafka/errors.md': () => kafkaErrors(root),
}

const check = process.argv.includes('--check')
for (const [name, make] of Object.entries(PAGES)) {
  const path = join(root, 'docs', name)
  const text = make()
  if (!check) writeFileSync(path, text)
  else if (!existsSync(path) || readFileSync(path, 'utf8') !== text) {
    console.error(`docs/${name} is not what the sources say: run npm run docs:reference`)
    process.exitCode = 1
  }
}
