import { atLeastTimes, atMostTimesCpu, atMostTimesOf } from './goals.ts'
import { BODY_SIZES, KEYS } from './sizes.ts'
import type { BodySize } from './sizes.ts'
import type { BenchCase, Subject, Suite } from './suite.ts'

const CONFIRMED = 'quorum queue, persistent, confirmed, acked'

function subject(name: string, file: string, guarantees: string, ...args: readonly string[]): Subject {
  return { name, file, args, guarantees, services: ['rabbitmq'] }
}

// As many on their way as with the peers: 1,000, in four batches, so that some are filled while others are confirmed.
const WINDOW = ['--lanes=4', '--batch=250'] as const
/** As the peers have. */
const PREFETCH = '--prefetch=1000'
/** Nobody consumes when publishing alone is measured: without a queue the broker would only say so. */
const SINK = '--transport-options={"groups":[{"topic":"bench.>","group":"sink","order":"none"}]}'

function ours(file: string, ...args: readonly string[]): Subject {
  return subject('busbar', `cases/${file}`, CONFIRMED, '--transport=rabbitmq', ...args)
}

function amqplib(mode: string, { bytes }: BodySize, ...args: readonly string[]): Subject {
  return subject('amqplib', 'peers/amqplib.ts', CONFIRMED, `--mode=${mode}`, `--bytes=${bytes}`, ...args)
}

/** What Busbar sends, by hand: the price of envelope and routing is in both. */
function sameEnvelope(mode: string, size: BodySize, ...args: readonly string[]): Subject {
  return { ...amqplib(mode, size, '--envelope=true', ...args), name: 'amqplib, same envelope' }
}

function rabbitmqClient(mode: string, { bytes }: BodySize, ...args: readonly string[]): Subject {
  const file = 'peers/rabbitmq-client.ts'
  return subject('rabbitmq-client', file, CONFIRMED, `--mode=${mode}`, `--bytes=${bytes}`, ...args)
}

function nest({ bytes }: BodySize, ...args: readonly string[]): Subject {
  const guarantees = 'classic queue, persistent, confirmed, acked'
  return subject(
    'nestjs, acked',
    'peers/nestjs.ts',
    guarantees,
    '--broker=rabbitmq',
    '--ack=manual',
    `--bytes=${bytes}`,
    ...args,
  )
}

function nestNoAck({ bytes }: BodySize): Subject {
  const guarantees = 'its default: classic queue, confirmed, at most once on consume'
  return subject('nestjs, noAck', 'peers/nestjs.ts', guarantees, '--broker=rabbitmq', `--bytes=${bytes}`)
}

function casesOf(size: BodySize): readonly BenchCase[] {
  const bytes = `--bytes=${size.bytes}`
  return [
    {
      name: `publish-${size.suffix}`,
      title: `Confirmed publish, bytes, ${size.label}`,
      metric: 'msg/s',
      ours: ours('publish.ts', '--body=bytes', bytes, SINK, ...WINDOW),
      peers: [
        amqplib('publish', size),
        sameEnvelope('publish', size),
        { ...amqplib('publish', size, '--queue=classic'), name: 'amqplib, classic', guarantees: 'classic queue' },
        rabbitmqClient('publish', size),
      ],
      goals: [
        atLeastTimes(0.75, 'amqplib'),
        atMostTimesCpu(1.3, 'amqplib'),
        // What a client can be held to: the price of envelope and routing is the broker's.
        atLeastTimes(0.95, 'amqplib, same envelope'),
      ],
    },
    {
      name: `consume-${size.suffix}`,
      title: `A filled queue: deliver, handler, ack, bytes, ${size.label}`,
      metric: 'msg/s',
      ours: ours('consume.ts', '--body=bytes', bytes, PREFETCH),
      peers: [
        { ...amqplib('consume', size), name: 'amqplib', guarantees: 'one ack a message' },
        {
          ...amqplib('consume', size, '--ack-every=64'),
          name: 'amqplib, multiple ack',
          guarantees: 'one ack for 64 messages',
        },
        rabbitmqClient('consume', size),
      ],
      goals: [atLeastTimes(1.3, 'amqplib')],
    },
    {
      name: `end-to-end-${size.suffix}`,
      title: `Publish, handler, ack in one process, JSON, ${size.label}`,
      metric: 'msg/s',
      ours: ours('end-to-end.ts', bytes, ...WINDOW, PREFETCH),
      peers: [
        amqplib('e2e', size, '--body=json'),
        sameEnvelope('e2e', size, '--body=json'),
        rabbitmqClient('e2e', size, '--body=json'),
        nest(size),
        nestNoAck(size),
      ],
      goals: [
        atLeastTimes(0.9, 'amqplib'),
        atLeastTimes(0.9, 'amqplib, same envelope'),
        atLeastTimes(1.8, 'nestjs, acked'),
      ],
    },
  ]
}

const SMALL = BODY_SIZES[0] as BodySize

export const rabbitmqSuite: Suite = {
  name: 'rabbitmq',
  title: 'RabbitMQ transport',
  needsExport: './rabbitmq',
  cases: [
    ...BODY_SIZES.flatMap(casesOf),
    {
      name: 'keyed-100b',
      title: `As end-to-end, 100 B, ${KEYS} keys, each handled in order; the raw clients know none`,
      metric: 'msg/s',
      ours: ours('end-to-end.ts', '--bytes=100', `--keys=${KEYS}`, ...WINDOW, PREFETCH),
      references: [{ ...ours('end-to-end.ts', '--bytes=100', ...WINDOW, PREFETCH), name: 'busbar, no keys' }],
      peers: [amqplib('e2e', SMALL, '--body=json'), rabbitmqClient('e2e', SMALL, '--body=json')],
      goals: [atLeastTimes(0.9, 'busbar, no keys')],
    },
    {
      name: 'latency',
      title: '1,000 msg/s, publish call to handler, 100 B',
      metric: 'p99 ms',
      ours: ours('latency.ts'),
      peers: [
        amqplib('latency', SMALL),
        sameEnvelope('latency', SMALL),
        { ...amqplib('latency', SMALL, '--no-delay=false'), name: 'amqplib, noDelay off' },
        rabbitmqClient('latency', SMALL),
        nest(SMALL, '--mode=latency'),
      ],
      goals: [atMostTimesOf('p50Ms', 1.2, 'amqplib'), atMostTimesOf('p99Ms', 1.2, 'amqplib')],
    },
  ],
}
