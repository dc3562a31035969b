import { atLeastTimes, atMostTimesOf } from './goals.ts'
import { BODY_SIZES, KEYS } from './sizes.ts'
import type { BodySize } from './sizes.ts'
import type { BenchCase, Subject, Suite } from './suite.ts'

const CORE = 'core: at most once, nothing is stored'
const JETSTREAM = 'JetStream file store, acknowledged, acked'

// As many on their way as the raw clients have: 1,000 unconfirmed when publishing alone, whatever the backlog allows end to end.
const WINDOW = ['--lanes=2', '--batch=500'] as const
const OPEN_WINDOW = ['--lanes=8', '--batch=500'] as const
const PREFETCH = '--prefetch=1000'

function subject(name: string, file: string, guarantees: string, ...args: readonly string[]): Subject {
  return { name, file, args, guarantees, services: ['nats'] }
}

function core(file: string, ...args: readonly string[]): Subject {
  const options = JSON.stringify({ jetstream: false })
  // It keeps none, so the consumer has to say that it needs none.
  const rest = [`--transport-options=${options}`, '--order=none', ...args]
  return subject('busbar', `cases/${file}`, CORE, '--transport=nats', ...rest)
}

function ours(file: string, ...args: readonly string[]): Subject {
  const options = JSON.stringify({ stream: { name: 'bench' } })
  return subject('busbar', `cases/${file}`, JETSTREAM, '--transport=nats', `--transport-options=${options}`, ...args)
}

function rawCore(mode: string, { bytes }: BodySize): Subject {
  return subject('nats client', 'peers/nats-core.ts', CORE, `--mode=${mode}`, `--bytes=${bytes}`)
}

function rawJetStream(mode: string, { bytes }: BodySize, ...args: readonly string[]): Subject {
  return subject('js client', 'peers/jetstream.ts', JETSTREAM, `--mode=${mode}`, `--bytes=${bytes}`, ...args)
}

function sharedInbox(mode: string, size: BodySize, ...args: readonly string[]): Subject {
  return { ...rawJetStream(mode, size, '--publish=shared-inbox', ...args), name: 'bare shared-inbox loop' }
}

/** The headers that Busbar sends, by hand: their price at the server is in both. */
function sameEnvelope(mode: string, size: BodySize, ...args: readonly string[]): Subject {
  return { ...sharedInbox(mode, size, '--envelope=true', ...args), name: 'bare shared-inbox loop, same envelope' }
}

function nest({ bytes }: BodySize, ...args: readonly string[]): Subject {
  return subject('nestjs', 'peers/nestjs.ts', CORE, '--broker=nats', `--bytes=${bytes}`, ...args)
}

function moleculer({ bytes }: BodySize, ...args: readonly string[]): Subject {
  return subject('moleculer', 'peers/moleculer.ts', CORE, '--transporter=nats', `--bytes=${bytes}`, ...args)
}

function casesOf(size: BodySize): readonly BenchCase[] {
  const bytes = `--bytes=${size.bytes}`
  return [
    {
      name: `core-publish-${size.suffix}`,
      title: `Core publish, bytes, ${size.label}`,
      metric: 'msg/s',
      ours: core('publish.ts', '--body=bytes', bytes, ...WINDOW),
      peers: [rawCore('publish', size)],
      goals: [atLeastTimes(0.85, 'nats client')],
    },
    {
      name: `core-end-to-end-${size.suffix}`,
      title: `Core: publish to handler in one process, ${size.label}; JSON with envelope, the raw client bytes`,
      metric: 'msg/s',
      ours: core('end-to-end.ts', bytes, ...OPEN_WINDOW, PREFETCH),
      peers: [rawCore('e2e', size), nest(size), moleculer(size)],
      goals: [atLeastTimes(0.45, 'nats client'), atLeastTimes(5, 'nestjs'), atLeastTimes(3, 'moleculer')],
    },
    {
      name: `jetstream-publish-${size.suffix}`,
      title: `JetStream: acknowledged publish, bytes, ${size.label}`,
      metric: 'msg/s',
      ours: ours('publish.ts', '--body=bytes', bytes, ...WINDOW),
      peers: [
        rawJetStream('publish', size),
        { ...rawJetStream('publish', size, '--publish=no-async-traces'), name: 'js client, noAsyncTraces' },
        sharedInbox('publish', size),
        sameEnvelope('publish', size),
      ],
      goals: [atLeastTimes(3.5, 'js client')],
    },
    {
      name: `jetstream-consume-${size.suffix}`,
      title: `JetStream: a filled stream, deliver, handler, ack, bytes, ${size.label}`,
      metric: 'msg/s',
      ours: ours('consume.ts', '--body=bytes', bytes, PREFETCH),
      // Filled through the shared inbox: only the consuming is measured.
      peers: [
        { ...sharedInbox('consume', size), name: 'js client' },
        { ...sameEnvelope('consume', size), name: 'js client, same envelope' },
      ],
      goals: [atLeastTimes(1, 'js client')],
    },
    {
      name: `jetstream-end-to-end-${size.suffix}`,
      title: `JetStream: publish, handler, ack in one process, JSON, ${size.label}`,
      metric: 'msg/s',
      ours: ours('end-to-end.ts', bytes, ...OPEN_WINDOW, PREFETCH),
      peers: [
        rawJetStream('e2e', size, '--body=json'),
        sharedInbox('e2e', size, '--body=json'),
        sameEnvelope('e2e', size, '--body=json'),
      ],
      goals: [atLeastTimes(2.5, 'js client')],
    },
  ]
}

const SMALL = BODY_SIZES[0] as BodySize

export const natsSuite: Suite = {
  name: 'nats',
  title: 'NATS transport',
  needsExport: './nats',
  cases: [
    ...BODY_SIZES.flatMap(casesOf),
    {
      name: 'jetstream-keyed-100b',
      title: `As jetstream-end-to-end, 100 B, ${KEYS} keys, each handled in order; the raw clients know none`,
      metric: 'msg/s',
      ours: ours('end-to-end.ts', '--bytes=100', `--keys=${KEYS}`, ...OPEN_WINDOW, PREFETCH),
      references: [{ ...ours('end-to-end.ts', '--bytes=100', ...OPEN_WINDOW, PREFETCH), name: 'busbar, no keys' }],
      peers: [rawJetStream('e2e', SMALL, '--body=json'), sharedInbox('e2e', SMALL, '--body=json')],
      goals: [atLeastTimes(0.9, 'busbar, no keys')],
    },
    {
      name: 'core-latency',
      title: 'Core, 1,000 msg/s, publish call to handler, 100 B',
      metric: 'p99 ms',
      ours: core('latency.ts'),
      peers: [rawCore('latency', SMALL), nest(SMALL, '--mode=latency'), moleculer(SMALL, '--mode=latency')],
      goals: [],
    },
    {
      name: 'jetstream-latency',
      title: 'JetStream, 1,000 msg/s, publish call to handler, 100 B',
      metric: 'p99 ms',
      ours: ours('latency.ts'),
      peers: [rawJetStream('latency', SMALL), sharedInbox('latency', SMALL)],
      goals: [atMostTimesOf('p50Ms', 1.2, 'js client'), atMostTimesOf('p99Ms', 2, 'js client')],
    },
  ],
}
