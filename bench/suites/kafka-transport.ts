import { atLeastTimes, atMostTimesOf } from './goals.ts'
import { BODY_SIZES, KEYS } from './sizes.ts'
import type { BodySize } from './sizes.ts'
import type { BenchCase, Subject, Suite } from './suite.ts'

// The whole bus on Kafka, beside the client that it stands on, and beside what a user would take instead. `kafka` is the suite of that
// client alone.

const ACKED = 'acks all, idempotent; at least once, committed after the handler'
const CLIENT = 'acks all, idempotent; at least once, committed each 5 s'
const PEERS = 'acks all, a request that is sent again may be written twice; at least once'

/** In arrays: eight of 500 on their way. */
const LANES = ['--lanes=8', '--batch=500'] as const
const ARRAYS = ['--batch=500', '--window=4000'] as const
/** End to end, so many may be sent and not handled, by all alike. */
const BACKLOG = '--backlog=8000'
const PREFETCH = '--prefetch=4000'

function subject(name: string, file: string, guarantees: string, ...args: readonly string[]): Subject {
  return { name, file, args, guarantees, services: ['kafka'] }
}

function ours(file: string, ...args: readonly string[]): Subject {
  return subject('busbar', `cases/${file}`, ACKED, '--transport=kafka', ...args)
}

function client(mode: string, { bytes }: BodySize, ...args: readonly string[]): Subject {
  return subject('client', 'cases/kafka-queue.ts', CLIENT, `--mode=${mode}`, `--bytes=${bytes}`, ...args)
}

/** With the headers that Busbar sends, and reads, by hand. */
function sameEnvelope(mode: string, size: BodySize, ...args: readonly string[]): Subject {
  return { ...client(mode, size, '--envelope=true', ...args), name: 'client, same envelope' }
}

function kafkajs(mode: string, { bytes }: BodySize, ...args: readonly string[]): Subject {
  return subject('kafkajs', 'peers/kafkajs-queue.ts', PEERS, `--mode=${mode}`, `--bytes=${bytes}`, ...args)
}

function platformatic(mode: string, { bytes }: BodySize, ...args: readonly string[]): Subject {
  return subject(
    'platformatic',
    'peers/platformatic-kafka-queue.ts',
    PEERS,
    `--mode=${mode}`,
    `--bytes=${bytes}`,
    ...args,
  )
}

function nest({ bytes }: BodySize, ...args: readonly string[]): Subject {
  return subject('nestjs', 'peers/nestjs.ts', PEERS, '--broker=kafka', `--bytes=${bytes}`, ...args)
}

/** Enough that a consumer of batches takes more than a moment. */
function messagesOf({ bytes }: BodySize): string {
  return `--messages=${bytes > 500 ? 300_000 : 1_000_000}`
}

function casesOf(size: BodySize): readonly BenchCase[] {
  const bytes = `--bytes=${size.bytes}`
  const messages = messagesOf(size)
  return [
    {
      name: `publish-single-${size.suffix}`,
      title: `Publish one by one, 1,000 unconfirmed, bytes, ${size.label}`,
      metric: 'msg/s',
      ours: ours('publish.ts', '--publish=single', '--body=bytes', bytes),
      peers: [
        client('publish', size),
        sameEnvelope('publish', size),
        kafkajs('publish', size),
        platformatic('publish', size),
      ],
      goals: [atLeastTimes(1 / 3, 'client')],
    },
    {
      name: `publish-many-${size.suffix}`,
      title: `publishMany, eight times 500 unconfirmed, bytes, ${size.label}`,
      metric: 'msg/s',
      ours: ours('publish.ts', '--body=bytes', bytes, ...LANES),
      peers: [
        client('publish', size, ...ARRAYS),
        sameEnvelope('publish', size, ...ARRAYS),
        kafkajs('publish', size, ...ARRAYS),
        platformatic('publish', size, ...ARRAYS),
      ],
      goals: [atLeastTimes(0.5, 'client')],
    },
    {
      name: `consume-batch-${size.suffix}`,
      title: `A filled topic: batch handler, ack, bytes, ${size.label}`,
      metric: 'msg/s',
      ours: ours('consume.ts', '--handler=batch', '--body=bytes', bytes, messages),
      peers: [
        client('consume', size, messages, ...ARRAYS),
        sameEnvelope('consume', size, messages, ...ARRAYS),
        kafkajs('consume', size, messages, ...ARRAYS),
        platformatic('consume', size, messages, ...ARRAYS),
      ],
      goals: [atLeastTimes(0.5, 'client')],
    },
    {
      name: `consume-${size.suffix}`,
      title: `A filled topic: an async handler for each message, ack, bytes, ${size.label}`,
      metric: 'msg/s',
      ours: ours('consume.ts', '--body=bytes', bytes, messages, PREFETCH),
      peers: [
        client('consume', size, '--read=handler', messages, ...ARRAYS),
        sameEnvelope('consume', size, '--read=handler', messages, ...ARRAYS),
        kafkajs('consume', size, '--read=handler', messages, ...ARRAYS),
        platformatic('consume', size, messages, ...ARRAYS),
      ],
      goals: [atLeastTimes(1 / 3, 'client')],
    },
    {
      name: `end-to-end-${size.suffix}`,
      title: `publishMany, an async handler for each message, ack, in one process, JSON, ${size.label}`,
      metric: 'msg/s',
      ours: ours('end-to-end.ts', bytes, ...LANES, BACKLOG, PREFETCH),
      peers: [
        client('e2e', size, '--read=handler', '--body=json', BACKLOG, ...ARRAYS),
        sameEnvelope('e2e', size, '--read=handler', '--body=json', BACKLOG, ...ARRAYS),
        kafkajs('e2e', size, '--read=handler', '--body=json', BACKLOG, ...ARRAYS),
        platformatic('e2e', size, '--body=json', BACKLOG, ...ARRAYS),
        nest(size),
      ],
      goals: [atLeastTimes(1 / 3, 'client'), atLeastTimes(5, 'nestjs')],
    },
  ]
}

const SMALL = BODY_SIZES[0] as BodySize

export const kafkaTransportSuite: Suite = {
  name: 'kafka-transport',
  title: 'Kafka transport',
  needsExport: './kafka',
  cases: [
    ...BODY_SIZES.flatMap(casesOf),
    {
      name: 'keyed-100b',
      title: `As end-to-end, 100 B, ${KEYS} keys, each handled in order; the clients know none`,
      metric: 'msg/s',
      ours: ours('end-to-end.ts', '--bytes=100', `--keys=${KEYS}`, ...LANES, BACKLOG, PREFETCH),
      references: [{ ...ours('end-to-end.ts', '--bytes=100', ...LANES, BACKLOG, PREFETCH), name: 'busbar, no keys' }],
      peers: [client('e2e', SMALL, '--read=handler', '--body=json', BACKLOG, ...ARRAYS)],
      goals: [atLeastTimes(0.9, 'busbar, no keys')],
    },
    {
      name: 'latency',
      title: '1,000 msg/s, publish call to handler, 100 B',
      metric: 'p99 ms',
      ours: ours('latency.ts'),
      peers: [
        client('latency', SMALL, '--read=handler'),
        kafkajs('latency', SMALL, '--read=handler'),
        platformatic('latency', SMALL),
        nest(SMALL, '--mode=latency'),
      ],
      goals: [atMostTimesOf('p50Ms', 1.5, 'client'), atMostTimesOf('p99Ms', 1.5, 'client')],
    },
  ],
}
