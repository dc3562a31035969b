import { aptInstall } from '../../../tools/brokers/apt.ts'
import { BrokerError } from '../../../tools/brokers/errors.ts'
import { which } from '../../../tools/brokers/exec.ts'
import type { KafkaBroker } from '../../../tools/brokers/index.ts'
import { EVERY_GROUP } from './peer.ts'
import type { Action, Peer, PeerRecord, PeerSettings, Program } from './peer.ts'

const TAB = '\t'

/** The console tools of Kafka's own jars. */
export const JAVA: Peer = {
  name: "Java's console tools",
  lacks: ['transactions', 'text only', 'own partition', 'own timestamp'],
  groups: EVERY_GROUP,
  program: async (action, settings, broker) =>
    action === 'produce' ? consoleProducer(settings, broker) : consoleConsumer(settings, broker),
}

const ASSIGNORS: Readonly<Record<string, string>> = {
  'cooperative-sticky': 'CooperativeStickyAssignor',
  sticky: 'StickyAssignor',
  range: 'RangeAssignor',
  roundrobin: 'RoundRobinAssignor',
}

function consoleProducer({ topic, compression = 'none' }: PeerSettings, broker: KafkaBroker): Program {
  const properties = ['parse.key=true', 'parse.headers=true'].flatMap((each) => ['--reader-property', each])
  const argv = broker.toolCommand(
    'org.apache.kafka.tools.ConsoleProducer',
    `--bootstrap-server=${addresses(broker)}`,
    `--topic=${topic}`,
    `--compression-codec=${compression}`,
    '--command-property=linger.ms=50',
    ...properties,
  )
  const toLine = ({ headers, key, value }: PeerRecord) =>
    [headers.map(([name, bytes]) => `${name}:${text(bytes)}`).join(','), text(key), text(value)].join(TAB)
  return { argv, toLine, fromLine: () => undefined, endsBy: 'end of input' }
}

function consoleConsumer({ topic, group, protocol, assignor }: PeerSettings, broker: KafkaBroker): Program {
  const shown = ['timestamp', 'partition', 'headers', 'key'].map((each) => `print.${each}=true`)
  const properties = [
    `group.id=${group}`,
    `group.protocol=${protocol ?? 'classic'}`,
    'auto.offset.reset=earliest',
    ...(assignor === undefined
      ? []
      : [`partition.assignment.strategy=org.apache.kafka.clients.consumer.${ASSIGNORS[assignor]}`]),
    ...(protocol === 'consumer' ? [] : ['heartbeat.interval.ms=500', 'session.timeout.ms=10000']),
  ]
  const argv = broker.toolCommand(
    'org.apache.kafka.tools.consumer.ConsoleConsumer',
    `--bootstrap-server=${addresses(broker)}`,
    `--topic=${topic}`,
    ...properties.flatMap((each) => ['--command-property', each]),
    ...shown.flatMap((each) => ['--formatter-property', each]),
  )
  return { argv, toLine: () => '', fromLine: (line) => printed(line, ':', 'NO_HEADERS'), endsBy: 'SIGTERM' }
}

/** Debian's kcat: librdkafka 2.0. */
export const KCAT: Peer = {
  name: 'kcat',
  lacks: ['transactions', 'text only', 'own partition', 'own timestamp', 'own headers'],
  groups: [
    { protocol: 'classic', assignor: 'cooperative-sticky' },
    { protocol: 'classic', assignor: 'range' },
    { protocol: 'classic', assignor: 'roundrobin' },
  ],
  program: async (action, settings, broker) => {
    if (which('kcat') === undefined) await aptInstall('kafka', ['kcat'])
    const kcat = which('kcat')
    if (kcat === undefined) throw new BrokerError('missing', 'kafka', 'no kcat found: install the package kcat')
    return kcatProgram([kcat, '-b', addresses(broker)], action, settings)
  },
}

/** The same for all records, as kcat has it. */
export const KCAT_HEADERS: PeerRecord['headers'] = [
  ['a', base64('one')],
  ['b', base64('two')],
]

function kcatProgram(base: readonly string[], action: Action, settings: PeerSettings): Program {
  const { topic, compression = 'none', group = '', assignor = 'range' } = settings
  const headers = KCAT_HEADERS.flatMap(([name, bytes]) => ['-H', `${name}=${text(bytes)}`])
  // Its own default hashes keys as no other client does.
  const choices = ['-X', 'linger.ms=50', '-X', 'topic.partitioner=murmur2_random']
  const producer = ['-P', ...choices, '-t', topic, '-z', compression, '-K', TAB, ...headers]
  const config = [
    'auto.offset.reset=earliest',
    `partition.assignment.strategy=${assignor}`,
    'heartbeat.interval.ms=500',
    'session.timeout.ms=10000',
    'fetch.wait.max.ms=100',
  ]
  const format = ['time:%T', 'partition:%p', '%h', '%k', '%s'].join('\\t')
  const settingsOf = config.flatMap((each) => ['-X', each])
  const consumer = ['-u', '-q', '-f', `${format}\\n`, ...settingsOf, '-G', group, topic]
  return {
    argv: [...base, ...(action === 'produce' ? producer : consumer)],
    toLine: ({ key, value }) => `${text(key)}${TAB}${text(value)}`,
    fromLine: (line) => printed(line, '=', ''),
    endsBy: action === 'produce' ? 'end of input' : 'SIGTERM',
  }
}

/** A line of timestamp, partition, headers, key and value. */
function printed(line: string, equals: string, noHeaders: string): PeerRecord | undefined {
  const [time = '', partition = '', headers = '', key = '', value] = line.split(TAB)
  if (value === undefined) return undefined
  const pairs = headers === noHeaders ? [] : headers.split(',').map((pair) => pair.split(equals))
  return {
    partition: Number(partition.split(':')[1]),
    key: base64(key),
    value: base64(value),
    headers: pairs.map(([name = '', bytes = '']) => [name, base64(bytes)]),
    timestamp: Number(time.split(':')[1]),
  }
}

function addresses({ nodes }: KafkaBroker): string {
  return nodes.map(({ host, port }) => `${host}:${port}`).join(',')
}

function text(bytes: string | null): string {
  return Buffer.from(bytes ?? '', 'base64').toString()
}

function base64(bytes: string): string {
  return Buffer.from(bytes).toString('base64')
}
