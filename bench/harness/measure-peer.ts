import { Backlog } from './backlog.ts'
import type { CaseArguments } from './case-arguments.ts'
import type { CaseOutput } from './case-output.ts'
import { measureLatency } from './measure-latency.ts'
import { measure, measureRate } from './measure-rate.ts'
import type { Deadline } from './measure-rate.ts'
import { makeBodies, makeOrders } from './payload.ts'
import type { Order } from './payload.ts'

/** A queue, stream or subject of its own behind a client library, driven as its documentation advises. */
export interface PeerQueue {
  /** Sends one message and calls `confirmed` when the broker has it (or at once, where nobody confirms). */
  publish(body: Buffer, confirmed: () => void): void
  /** Sends these in one call; `confirmed` is called once, when the broker has all of them. For `--batch`. */
  publishMany?(bodies: readonly Buffer[], confirmed: () => void): void
  /** Calls `handle` for each message, settles it, and then calls `settled` with how many were settled. */
  consume(handle: (body: Uint8Array) => void, settled: (count: number) => void): Promise<void>
  /** It takes long until the first message comes, as a group has to form: a filled queue is measured behind a warm-up. */
  readonly startsLate?: boolean
  close(): Promise<void>
}

/** What a message is to a handler: bytes as they are, or JSON that is parsed, as our codec does. */
interface Bodies {
  /** The next body to send. */
  readonly make: () => Buffer
  /** Touches it as a handler would. */
  readonly read: (body: Uint8Array) => void
}

/** Sent and not yet confirmed. */
const WINDOW = 1_000
/** Sent and not yet handled. */
const BACKLOG = 4_000

/** How messages are sent: one for each call, or in arrays (`--batch`), of which several are on their way. */
interface Sender {
  readonly window: Backlog
  /** Sends the next message or messages, and returns their number. */
  readonly send: () => number
  readonly isOver: (deadline: Deadline) => boolean
}

function senderOf(args: CaseArguments, queue: PeerQueue, bodies: Bodies): Sender {
  const window = new Backlog(args.number('window', WINDOW))
  const batch = args.number('batch', 1)
  if (batch === 1) {
    const confirmed = (): void => window.done()
    return {
      window,
      isOver: (deadline) => deadline.passedRoughly,
      send() {
        window.sent(1)
        queue.publish(bodies.make(), confirmed)
        return 1
      },
    }
  }
  const confirmed = (): void => window.doneMany(batch)
  return {
    window,
    isOver: (deadline) => deadline.passed,
    send() {
      window.sent(batch)
      if (queue.publishMany === undefined) throw new Error('it has no call for several messages')
      queue.publishMany(Array.from({ length: batch }, bodies.make), confirmed)
      return batch
    },
  }
}

function bodiesOf(args: CaseArguments): Bodies {
  const bytes = args.number('bytes', 100)
  let next = 0
  let sum = 0
  if (args.option('body', 'bytes') === 'json') {
    const orders = makeOrders(1_000, bytes)
    return {
      make: () => Buffer.from(JSON.stringify(orders[next++ % orders.length])),
      read: (body) => {
        sum += (JSON.parse(Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString()) as Order).total
        if (Number.isNaN(sum)) throw new Error('the handler got no total')
      },
    }
  }
  const bodies = makeBodies(1_000, bytes)
  return {
    make: () => bodies[next++ % bodies.length] as Buffer,
    read: (body) => {
      sum += body.byteLength
    },
  }
}

/**
 * Runs one of the four modes that all brokers share: `publish` (1,000 unconfirmed at any time), `consume` (a filled queue),
 * `e2e` (both at once, in one process) and `latency`.
 */
export function measurePeer(args: CaseArguments, open: (name: string) => Promise<PeerQueue>): Promise<CaseOutput> {
  const mode = args.option('mode', 'e2e')
  switch (mode) {
    case 'publish':
      return publishRate(args, open)
    case 'consume':
      return consumeRate(args, open)
    case 'e2e':
      return endToEnd(args, open)
    case 'latency':
      return latency(args, open)
    default:
      throw new Error(`unknown mode ${mode}`)
  }
}

async function publishRate(args: CaseArguments, open: (name: string) => Promise<PeerQueue>): Promise<CaseOutput> {
  const queue = await open(`bench-${process.pid}`)
  const { window, send, isOver } = senderOf(args, queue, bodiesOf(args))
  const output = await measureRate(args, async (deadline) => {
    const before = window.handled
    while (!isOver(deadline)) {
      if (window.full) await window.room()
      send()
    }
    await window.empty()
    return window.handled - before
  })
  await queue.close()
  return output
}

async function fill(args: CaseArguments, queue: PeerQueue, bodies: Bodies, count: number): Promise<number> {
  const { window, send } = senderOf(args, queue, bodies)
  let sent = 0
  while (sent < count) {
    if (window.full) await window.room()
    sent += send()
  }
  await window.empty()
  return sent
}

async function consumeRate(args: CaseArguments, open: (name: string) => Promise<PeerQueue>): Promise<CaseOutput> {
  const bodies = bodiesOf(args)
  const consumeAll = async (queue: PeerQueue, count: number): Promise<number> => {
    const backlog = new Backlog(Infinity)
    backlog.sent(count)
    await queue.consume(bodies.read, (settled) => backlog.doneMany(settled))
    await backlog.empty()
    return count
  }
  // The warm-up has a queue of its own: most clients can't pause a consumer without side effects.
  const warmupCount = Math.ceil(args.messages / 5)
  const warmup = await open(`bench-${process.pid}-warmup`)
  if (warmup.startsLate === true) return consumeBehindWarmUp(args, warmup, warmupCount)
  await consumeAll(warmup, await fill(args, warmup, bodies, warmupCount))
  await warmup.close()
  const queue = await open(`bench-${process.pid}`)
  const count = await fill(args, queue, bodies, args.messages)
  const output = await measure(() => consumeAll(queue, count))
  await queue.close()
  return output
}

/** One queue: the clock starts when the first messages of it are settled. */
async function consumeBehindWarmUp(args: CaseArguments, queue: PeerQueue, warmupCount: number): Promise<CaseOutput> {
  const bodies = bodiesOf(args)
  const count = await fill(args, queue, bodies, warmupCount + args.messages)
  const [warm, all] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  let done = 0
  await queue.consume(bodies.read, (settled) => {
    done += settled
    if (done >= warmupCount) warm.resolve()
    if (done >= count) all.resolve()
  })
  await warm.promise
  const before = done
  const output = await measure(async () => {
    await all.promise
    return count - before
  })
  await queue.close()
  return output
}

async function endToEnd(args: CaseArguments, open: (name: string) => Promise<PeerQueue>): Promise<CaseOutput> {
  const queue = await open(`bench-${process.pid}`)
  const bodies = bodiesOf(args)
  const { window, send, isOver } = senderOf(args, queue, bodies)
  const backlog = new Backlog(args.number('backlog', BACKLOG))
  await queue.consume(bodies.read, (settled) => backlog.doneMany(settled))
  const output = await measureRate(args, async (deadline) => {
    const before = backlog.handled
    while (!isOver(deadline)) {
      if (window.full) await window.room()
      if (backlog.full) await backlog.room()
      backlog.sent(send())
    }
    await window.empty()
    await backlog.empty()
    return backlog.handled - before
  })
  await queue.close()
  return output
}

async function latency(args: CaseArguments, open: (name: string) => Promise<PeerQueue>): Promise<CaseOutput> {
  const queue = await open(`bench-${process.pid}`)
  const bytes = args.number('bytes', 100)
  const output = await measureLatency(args, async (run) => {
    await queue.consume(
      (body) => run.arrived(Buffer.from(body.buffer, body.byteOffset, body.byteLength).readUInt32LE(0)),
      () => {},
    )
    return (index) => {
      const body = Buffer.alloc(bytes)
      body.writeUInt32LE(index)
      queue.publish(body, () => {})
    }
  })
  await queue.close()
  return output
}
