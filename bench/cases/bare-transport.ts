import { systemClock } from 'busbar'
import type { BusEvents, OutgoingMessage } from 'busbar'
import type { Delivery, Settlement, TransportHost, TransportSubscription } from 'busbar/transport'
import { Backlog } from '../harness/backlog.ts'
import { readCaseArguments } from '../harness/case-arguments.ts'
import { printCaseOutput } from '../harness/case-output.ts'
import { measureRate } from '../harness/measure-rate.ts'
import { makeBodies } from '../harness/payload.ts'
import { openBenchTransport } from './bench-transport.ts'

// The transport contract alone, driven as the runtime drives it: batches of 1,000 in, credit, batched settles. What a bus
// takes more CPU than this is what the runtime costs.

const PREFETCH = 4_000
const ACK = { type: 'ack' } as const

function nothing(): void {}

/** Nobody listens: as on a bus without listeners. */
const events = { on: () => nothing, onAny: () => nothing, wants: () => false, emit: nothing } as unknown as BusEvents
const logger = { debug: nothing, info: nothing, warn: nothing, error: nothing }
const host: TransportHost = {
  service: 'bench',
  instanceId: 'bench',
  clock: systemClock,
  events,
  logger,
  name: 'main',
}

function message(topic: string, body: Uint8Array, index: number): OutgoingMessage {
  const id = `00000000-0000-7000-8000-${String(index).padStart(12, '0')}`
  return {
    id,
    topic,
    type: topic,
    source: 'bench',
    time: Date.now(),
    key: undefined,
    contentType: 'application/octet-stream',
    subject: undefined,
    dataSchema: undefined,
    version: undefined,
    correlationId: id,
    causationId: undefined,
    traceparent: undefined,
    tracestate: undefined,
    expiresAt: undefined,
    headers: Object.freeze({}),
    body,
    deliverAt: undefined,
    group: undefined,
  }
}

const args = readCaseArguments()
const { transport, remove } = await openBenchTransport(args)
const topic = `bench.bare.t${process.pid}`
const batch = makeBodies(args.number('batch', 1_000), 100).map((body, index) => message(topic, body, index))
const backlog = new Backlog(args.number('backlog', 4_000))
await transport.open(host)
await transport.admin?.ensureTopic(topic)

let settlements: Settlement[] = []
let freedBytes = 0

function settleAll(): void {
  const settled = settlements
  const bytes = freedBytes
  settlements = []
  freedBytes = 0
  subscription.settle(settled).then((failures) => {
    if (failures.length > 0) throw failures[0]?.error
    backlog.doneMany(settled.length)
    subscription.request(settled.length, bytes)
  }, fail)
}

function fail(error: unknown): never {
  console.error(error)
  process.exit(1)
}

function receive(deliveries: readonly Delivery[]): void {
  if (settlements.length === 0) setImmediate(settleAll)
  for (const delivery of deliveries) {
    freedBytes += delivery.bytes
    settlements.push({ delivery, outcome: ACK })
  }
}

const subscription: TransportSubscription = await transport.subscribe(
  {
    topic,
    group: 'bench',
    order: 'key',
    ephemeral: false,
    from: 'earliest',
    prefetch: PREFETCH,
    prefetchBytes: 16_777_216,
    maxPerKey: Number.MAX_SAFE_INTEGER,
    consumerId: 'bench',
  },
  { receive, lost: nothing, recall: nothing },
)
subscription.request(PREFETCH, 16_777_216)

const output = await measureRate(args, async (deadline) => {
  const before = backlog.handled
  while (!deadline.passed) {
    if (backlog.full) await backlog.room()
    backlog.sent(batch.length)
    const outcomes = await transport.publish(batch)
    for (const outcome of outcomes) {
      const { error } = outcome instanceof Promise ? await outcome : outcome
      if (error !== undefined) throw error
    }
  }
  await backlog.empty()
  return backlog.handled - before
})
await subscription.close()
await transport.close()
remove()
printCaseOutput(output)
