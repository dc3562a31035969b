import { atLeastTimes, atMostTimesOf } from './goals.ts'
import { BODY_SIZES, KEYS } from './sizes.ts'
import type { BodySize } from './sizes.ts'
import type { BenchCase, Subject, Suite } from './suite.ts'

/** 1,000 unconfirmed at any time, as with the peers. */
const WINDOW = ['--lanes=2', '--batch=500'] as const
/** The peers set no bound to what is read and not acked. */
const PREFETCH = '--prefetch=1000'
const STREAM = 'stream and group, acked; append-only file, fsync each second'

function subject(name: string, file: string, guarantees: string, ...args: readonly string[]): Subject {
  return { name, file, args, guarantees, services: ['redis'] }
}

function ours(file: string, ...args: readonly string[]): Subject {
  return subject(
    'busbar',
    `cases/${file}`,
    STREAM,
    '--transport=redis',
    '--transport-options={"retention":{"maxMessages":100000000}}',
    ...args,
  )
}

function ioredis(mode: string, { bytes }: BodySize, ...args: readonly string[]): Subject {
  return subject('ioredis', 'peers/ioredis.ts', STREAM, `--mode=${mode}`, `--bytes=${bytes}`, ...args)
}

function nodeRedis(mode: string, { bytes }: BodySize, ...args: readonly string[]): Subject {
  return subject('node-redis', 'peers/node-redis.ts', STREAM, `--mode=${mode}`, `--bytes=${bytes}`, ...args)
}

function withoutTimeout(mode: string, size: BodySize, ...args: readonly string[]): Subject {
  return { ...nodeRedis(mode, size, '--command-timeout=none', ...args), name: 'node-redis, no command timeout' }
}

function nest({ bytes }: BodySize, ...args: readonly string[]): Subject {
  const guarantees = 'pub/sub: at most once, nothing is stored'
  return subject('nestjs', 'peers/nestjs.ts', guarantees, '--broker=redis', `--bytes=${bytes}`, ...args)
}

function bullmq({ bytes }: BodySize, ...args: readonly string[]): Subject {
  return subject(
    'bullmq',
    'peers/bullmq.ts',
    'at least once; append-only file, fsync each second',
    `--bytes=${bytes}`,
    ...args,
  )
}

function casesOf(size: BodySize): readonly BenchCase[] {
  const bytes = `--bytes=${size.bytes}`
  return [
    {
      name: `publish-${size.suffix}`,
      title: `Publish (XADD answered), bytes, ${size.label}`,
      metric: 'msg/s',
      ours: ours('publish.ts', '--body=bytes', bytes, ...WINDOW),
      peers: [
        ioredis('publish', size),
        { ...ioredis('publish', size, '--auto-pipeline=true'), name: 'ioredis, auto-pipelining' },
        nodeRedis('publish', size),
        withoutTimeout('publish', size),
      ],
      goals: [atLeastTimes(1.5, 'ioredis'), atLeastTimes(0.8, 'node-redis, no command timeout')],
    },
    {
      name: `consume-${size.suffix}`,
      title: `A filled stream: deliver, handler, ack, bytes, ${size.label}`,
      metric: 'msg/s',
      ours: ours('consume.ts', '--body=bytes', bytes, PREFETCH),
      peers: [
        { ...ioredis('consume', size), guarantees: 'one XACK for what one read brought' },
        { ...ioredis('consume', size, '--ack=single'), name: 'ioredis, single ack', guarantees: 'one XACK a message' },
        withoutTimeout('consume', size),
      ],
      goals: [atLeastTimes(0.95, 'ioredis'), atLeastTimes(2, 'ioredis, single ack')],
    },
    {
      name: `end-to-end-${size.suffix}`,
      title: `Publish, handler, ack in one process, JSON, ${size.label}`,
      metric: 'msg/s',
      ours: ours('end-to-end.ts', bytes, ...WINDOW, PREFETCH),
      peers: [
        ioredis('e2e', size, '--body=json'),
        withoutTimeout('e2e', size, '--body=json'),
        nest(size),
        bullmq(size, '--mode=e2e'),
      ],
      goals: [atLeastTimes(1.5, 'ioredis'), atLeastTimes(2.5, 'nestjs'), atLeastTimes(8, 'bullmq')],
    },
  ]
}

const SMALL = BODY_SIZES[0] as BodySize

export const redisSuite: Suite = {
  name: 'redis',
  title: 'Redis Streams transport',
  needsExport: './redis',
  cases: [
    ...BODY_SIZES.flatMap(casesOf),
    {
      name: 'keyed-100b',
      title: `As end-to-end, 100 B, ${KEYS} keys, each handled in order; the raw clients know none`,
      metric: 'msg/s',
      ours: ours('end-to-end.ts', '--bytes=100', `--keys=${KEYS}`, ...WINDOW, PREFETCH),
      references: [{ ...ours('end-to-end.ts', '--bytes=100', ...WINDOW, PREFETCH), name: 'busbar, no keys' }],
      peers: [ioredis('e2e', SMALL, '--body=json'), withoutTimeout('e2e', SMALL, '--body=json')],
      goals: [atLeastTimes(0.9, 'busbar, no keys')],
    },
    {
      name: 'latency',
      title: '1,000 msg/s, publish call to handler, 100 B',
      metric: 'p99 ms',
      ours: ours('latency.ts'),
      peers: [
        ioredis('latency', SMALL),
        withoutTimeout('latency', SMALL),
        nest(SMALL, '--mode=latency'),
        bullmq(SMALL, '--mode=latency'),
      ],
      goals: [atMostTimesOf('p50Ms', 1.2, 'ioredis'), atMostTimesOf('p99Ms', 2, 'ioredis')],
    },
  ],
}
