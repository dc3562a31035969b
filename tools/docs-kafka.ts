// The pages of the Kafka client that are generated from its sources: options, and the codes of brokers within the page of errors.
// `npm run docs:reference` writes them.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { BROKER_ERRORS } from '../src/kafka/error-codes.ts'
import { readInterfaces } from './interface-reader.ts'
import type { Interface } from './interface-reader.ts'
import { markdownTable, replaceSection } from './markdown.ts'

interface Section {
  readonly title: string
  readonly intro: string
  /** A later one replaces members of an earlier one. */
  readonly interfaces: readonly string[]
}

const SECTIONS: readonly Section[] = [
  {
    title: 'createClient',
    intro: 'Only `brokers` is required.',
    interfaces: ['ClusterOptions', 'ClientOptions'],
  },
  { title: 'createClient: hooks', intro: '', interfaces: ['ClusterHooks', 'ClientHooks', 'ConsumerHooks'] },
  { title: 'kafka.producer', intro: '', interfaces: ['ProducerOptions'] },
  { title: 'producer.send, and records of sendMany', intro: '', interfaces: ['ProducerRecord', 'RecordContent'] },
  { title: 'kafka.consumer', intro: 'Only `topics` is required.', interfaces: ['ConsumerOptions'] },
  { title: 'consumer.run', intro: '', interfaces: ['RunOptions'] },
  { title: 'kafka.shareConsumer', intro: '', interfaces: ['ShareConsumerOptions'] },
  { title: 'shareConsumer.run', intro: '', interfaces: ['ShareRunOptions'] },
  { title: 'kafka.admin', intro: '', interfaces: ['AdminOptions'] },
  { title: 'admin.topics.create', intro: '', interfaces: ['NewTopic'] },
]

const INTRO =
  'Durations end in `Ms`, sizes in `Bytes`. Unknown names and wrong values are refused, all of them in one `InvalidOptionsError` that says what to write instead. A value of `undefined` is the same as none.'

/** The text below the title. Throws if an option has no doc comment. */
export function kafkaOptions(root: string): readonly string[] {
  const all = readInterfaces(root, 'src/kafka/**/*.ts')
  return [INTRO, '', ...SECTIONS.flatMap((section) => linesOf(section, all))]
}

/** The page of errors, with the codes that brokers send. */
export function kafkaErrors(root: string): string {
  const page = readFileSync(join(root, 'docs/kafka/errors.md'), 'utf8')
  const rows = BROKER_ERRORS.map(({ code, name, action, outcome, meaning }) => [
    `${code}`,
    `\`${name}\``,
    action,
    outcome,
    meaning,
  ])
  return replaceSection(page, 'broker codes', markdownTable(['', 'code', 'action', 'outcome', ''], rows))
}

function linesOf({ title, intro, interfaces }: Section, all: ReadonlyMap<string, Interface>): readonly string[] {
  const members = new Map(interfaces.flatMap((name) => membersOf(name, all)).map((member) => [member.name, member]))
  const rows = [...members.values()].map(({ name, optional, type, text, file }) => {
    if (text === '') throw new Error(`no doc comment: ${file}: ${name}`)
    const [what = '', byDefault = ''] = text.replace(/\{@link ([^}]+)\}/g, '`$1`').split(' @default ')
    // The parentheses around a function are for the `undefined` that follows in the source.
    const shownType = type.replace(/^\((\(.*\) => [^)]*)\)$/, '$1')
    return [`\`${name}\`${optional ? '' : ' (required)'}`, `\`${shownType}\``, byDefault, what]
  })
  const table = markdownTable(['option', 'type', 'default', ''], rows)
  return [`## ${title}`, '', ...(intro === '' ? [] : [intro, '']), table, '']
}

function membersOf(name: string, all: ReadonlyMap<string, Interface>) {
  const found = all.get(name)
  if (found === undefined) throw new Error(`there is no interface ${name}`)
  return found.members.map((member) => ({ ...member, file: found.file }))
}
