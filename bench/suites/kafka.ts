import { atLeastPerSecond, atLeastTimes, atMost, atMostTimesCpu, atMostTimesOf } from './goals.ts'
import type { BenchCase, ServiceName, Subject, Suite } from './suite.ts'

/** All of these wait for all replicas. What differs is what happens when a request is sent again. */
const IDEMPOTENT = 'acks all, idempotent'
const REPEATS = 'acks all; a request that is sent again may be written twice'
const CHECKED = 'at least once; checksums compared'
const UNCHECKED = 'at least once; checksums not compared'

interface Size {
  readonly bytes: number
  readonly label: string
  readonly suffix: string
  /** Records of one array. */
  readonly count: number
}

const SIZES: readonly Size[] = [
  { bytes: 100, label: '100 B', suffix: '100b', count: 1_000 },
  { bytes: 1_000, label: '1 KB', suffix: '1kb', count: 200 },
]

type Target = 'discard' | 'kafka'

/** A broker of the suite's own needs none of the run. */
function servicesOf(target: Target): readonly ServiceName[] {
  return target === 'kafka' ? ['kafka'] : []
}

function subject(name: string, file: string, guarantees: string, target: Target, args: readonly string[]): Subject {
  return { name, file, guarantees, services: servicesOf(target), args: [`--target=${target}`, ...args] }
}

function ours(target: Target, guarantees: string, ...args: readonly string[]): Subject {
  return subject('busbar', 'cases/kafka-client.ts', guarantees, target, args)
}

function platformatic(target: Target, guarantees: string, ...args: readonly string[]): Subject {
  return subject('platformatic', 'peers/platformatic-kafka.ts', guarantees, target, args)
}

function kafkajs(target: Target, guarantees: string, ...args: readonly string[]): Subject {
  return subject('kafkajs', 'peers/kafkajs.ts', guarantees, target, args)
}

function confluent(target: Target, guarantees: string, ...args: readonly string[]): Subject {
  const base = subject('confluent', 'peers/confluent-kafka.ts', guarantees, target, args)
  return { ...base, needsPackage: '@confluentinc/kafka-javascript' }
}

/** Its tools come with the broker of the run. */
function java(target: Target, guarantees: string, ...args: readonly string[]): Subject {
  return { ...subject('java', 'peers/kafka-java.ts', guarantees, target, args), services: ['kafka'] }
}

function produceCase(target: Target, size: Size): BenchCase {
  const args = ['--mode=produce', `--bytes=${size.bytes}`, `--count=${size.count}`]
  const isDiscarded = target === 'discard'
  const what = `arrays of ${size.count.toLocaleString('en')} × ${size.label}, 8 outstanding`
  return {
    name: `produce-${isDiscarded ? 'discarded-' : ''}${size.suffix}`,
    title: isDiscarded ? `Produce to a broker that discards: ${what}` : `Produce: ${what}`,
    metric: 'msg/s',
    ours: ours(target, IDEMPOTENT, ...args),
    peers: [
      java(target, IDEMPOTENT, ...args),
      platformatic(target, REPEATS, ...args),
      kafkajs(target, REPEATS, ...args),
      confluent(target, REPEATS, ...args),
    ],
    goals: isDiscarded
      ? [atLeastPerSecond(size.bytes > 500 ? 900_000 : 4_000_000), atLeastTimes(5, 'platformatic')]
      : AGAINST_PEERS,
  }
}

function consumeCase(size: Size): BenchCase {
  const args = ['--mode=consume', `--bytes=${size.bytes}`]
  return {
    name: `consume-${size.suffix}`,
    title: `Consume in a group, values as bytes, ${size.label}`,
    metric: 'msg/s',
    ours: ours('kafka', CHECKED, ...args),
    peers: [
      java('kafka', CHECKED, ...args),
      platformatic('kafka', UNCHECKED, ...args),
      kafkajs('kafka', UNCHECKED, ...args),
      confluent('kafka', UNCHECKED, ...args),
    ],
    goals: AGAINST_PEERS,
  }
}

const AGAINST_PEERS = [
  atLeastTimes(1, 'java', 'platformatic'),
  atMostTimesCpu(1 / 3, 'java'),
  atMostTimesCpu(1 / 3, 'platformatic'),
  atMostTimesCpu(1 / 6, 'kafkajs'),
]

function singleCase(outstanding: number, min: number): BenchCase {
  const args = ['--mode=single', '--bytes=100', `--outstanding=${outstanding}`]
  const how = outstanding === 1 ? 'one at a time' : `${outstanding.toLocaleString('en')} outstanding`
  return {
    name: `single-${outstanding}`,
    title: `One awaited send for each record, ${how}, 100 B, to a broker that discards`,
    metric: 'msg/s',
    ours: ours('discard', IDEMPOTENT, ...args),
    peers: [
      platformatic('discard', REPEATS, ...args),
      kafkajs('discard', REPEATS, ...args),
      confluent('discard', REPEATS, ...args),
    ],
    goals: [atLeastPerSecond(min)],
  }
}

function boundCase(name: string, title: string, min: number, ...args: readonly string[]): BenchCase {
  return {
    name: `consume-bound-${name}`,
    title: `Consume from a broker that costs next to nothing: ${title}`,
    metric: 'msg/s',
    ours: {
      name: 'busbar',
      file: 'cases/kafka-client.ts',
      guarantees: 'no group; checksums compared',
      args: ['--target=records', ...args],
    },
    peers: [],
    goals: [atLeastPerSecond(min)],
  }
}

export const kafkaSuite: Suite = {
  name: 'kafka',
  title: 'Kafka client',
  needsExport: './kafka/client',
  cases: [
    ...SIZES.map((size) => produceCase('discard', size)),
    singleCase(1_000, 1_000_000),
    singleCase(1, 15_000),
    boundCase('100b', 'batches of 1,000 × 100 B', 4_000_000, '--bytes=100', '--batch=1000'),
    boundCase('1kb', 'batches of 100 × 1 KB', 650_000, '--bytes=1000', '--batch=100'),
    boundCase(
      'handler',
      'a handler for each record, 100 B',
      1_500_000,
      '--bytes=100',
      '--batch=1000',
      '--read=handler',
    ),
    ...SIZES.map((size) => produceCase('kafka', size)),
    ...SIZES.map(consumeCase),
    {
      name: 'latency',
      title: '1,000 records a second, from the call until all replicas have them, 100 B',
      metric: 'p99 ms',
      ours: ours('kafka', IDEMPOTENT, '--mode=latency'),
      peers: [
        java('kafka', `${IDEMPOTENT}; in whole milliseconds`, '--mode=latency'),
        platformatic('kafka', REPEATS, '--mode=latency'),
        kafkajs('kafka', REPEATS, '--mode=latency'),
        confluent('kafka', REPEATS, '--mode=latency'),
      ],
      goals: [atMostTimesOf('p50Ms', 1, 'java'), atMostTimesOf('p99Ms', 1, 'java')],
    },
    {
      name: 'idle',
      title: 'A member of a group that has nothing to read',
      metric: 'CPU %',
      ours: ours('kafka', 'default heartbeats', '--mode=idle'),
      peers: [
        java('kafka', 'default heartbeats', '--mode=idle'),
        platformatic('kafka', 'default heartbeats', '--mode=idle'),
        kafkajs('kafka', 'default heartbeats', '--mode=idle'),
        confluent('kafka', 'default heartbeats', '--mode=idle'),
      ],
      goals: [atMost('cpuPercent', 1, '% of a core')],
      rounds: 1,
    },
  ],
}
