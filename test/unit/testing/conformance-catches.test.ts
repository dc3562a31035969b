import { describe, expect, it } from 'vitest'
import { memory, memoryBroker } from 'busbar/memory'
import { allScenarios } from '../../../src/testing/conformance/all-scenarios.ts'
import { runScenario } from '../../../src/testing/conformance/run-scenario.ts'
import { NoRespondersError, PublishError, TimeoutError } from '../../../src/core/errors.ts'
import { bodyBytes, bodyOf } from '../../../src/core/message.ts'
import type { EncodedMessage } from '../../../src/core/message.ts'
import type { Delivery, PublishOutcome, RequestReply } from '../../../src/core/transport.ts'
import { sabotaged } from './sabotage.ts'
import type { Sabotage } from './sabotage.ts'

// A test that can't fail is a defect: each lie of a transport must be found by the scenarios that promise the contrary.

/** Short: what a lie holds back never comes. */
const PATIENCE_MS = 300

async function run(id: string, lie: Sabotage, patienceMs = PATIENCE_MS): Promise<unknown> {
  const scenario = allScenarios.find((one) => one.id === id)
  if (scenario === undefined) throw new Error(`there is no scenario ${id}`)
  const broker = memoryBroker()
  const create = () => sabotaged(memory({ broker }), lie)
  const environment = {
    create,
    capabilities: create().capabilities,
    faults: {},
    foreign: undefined,
    childModule: undefined,
    childEnv: undefined,
    patienceMs,
    precisionMs: 250,
  }
  return (await runScenario(scenario, environment, 4 * patienceMs)).error
}

function changed(delivery: Delivery, fields: Partial<Delivery>): Delivery {
  return new Proxy(delivery, {
    get: (target, name) => (name in fields ? fields[name as keyof Delivery] : Reflect.get(target, name)),
  })
}

/** Publishes one message after the other; one that fails takes those of its key along, until no call is open. */
function stoppingKeys(): NonNullable<Sabotage['publish']> {
  const stopped = new Set<string | undefined>()
  let open = 0
  let before: Promise<unknown> = Promise.resolve()
  return (inner, batch) => {
    open++
    const outcomes = before.then(async () => {
      const all: PublishOutcome[] = []
      for (const message of batch) {
        const [outcome] = stopped.has(message.key)
          ? [{ error: new PublishError('an earlier one of its key failed', { outcome: 'not-sent' }) }]
          : await inner.publish([message])
        all.push((await outcome) as PublishOutcome)
        if (all.at(-1)?.error !== undefined) stopped.add(message.key)
      }
      if (--open === 0) stopped.clear()
      return all
    })
    before = outcomes
    return outcomes
  }
}

function answers(change: (reply: EncodedMessage) => EncodedMessage): NonNullable<Sabotage['requestReply']> {
  return (inner) => ({ request: async (message, options) => change(await inner.request(message, options)) })
}

/** Changes the error of a request, or leaves it pending. */
function rejections(change: (error: unknown) => unknown): NonNullable<Sabotage['requestReply']> {
  return (inner) => ({
    request: (message, options) =>
      inner.request(message, options).catch((error: unknown) => {
        const changed = change(error)
        return changed === 'never' ? new Promise<never>(() => {}) : Promise.reject(changed)
      }),
  })
}

function asNotSent(error: PublishError): PublishError {
  return new PublishError(error.message, { outcome: 'not-sent', cause: error.cause })
}

/** Replies, and what waits for them, without numbers. */
function firstComeFirstServed(inner: RequestReply): Partial<RequestReply> {
  const waiting: ((reply: EncodedMessage) => void)[] = []
  return {
    request: (message, options) =>
      new Promise((resolve, reject) => {
        waiting.push(resolve)
        inner.request(message, { ...options, timeoutMs: 3_600_000 }).then((reply) => waiting.shift()?.(reply), reject)
        setTimeout(
          () => {
            const at = waiting.indexOf(resolve)
            if (at >= 0) waiting.splice(at, 1)
            reject(new TimeoutError('too late'))
          },
          Math.min(options.timeoutMs, 10_000),
        ).unref()
      }),
  }
}

let counter = 0
let uniqueGroup = 0

interface Lie {
  readonly lie: string
  readonly how: Sabotage
  readonly caughtBy: readonly string[]
  /** A memory transport that keeps the promise; by default as it is. */
  readonly honest?: Sabotage
}

const LIES: readonly Lie[] = [
  {
    lie: 'confirms every tenth message without storing it',
    how: {
      publish: async (inner, batch) => {
        const kept = batch.map(() => ++counter % 10 !== 0)
        const outcomes = await inner.publish(batch.filter((_, index) => kept[index]))
        let at = 0
        return batch.map((_, index) =>
          kept[index] ? (outcomes[at++] ?? { position: undefined }) : { position: undefined },
        )
      },
    },
    caughtBy: ['publish/thousand-at-once', 'publish/two-publishers', 'groups/each-gets-all'],
  },
  {
    lie: 'claims that a failed publish stops its key',
    how: { capabilities: { failedPublishStopsKey: true } },
    caughtBy: ['publish/failed-stops-key'],
    honest: { capabilities: { failedPublishStopsKey: true }, publish: stoppingKeys() },
  },
  {
    lie: 'stores some messages twice',
    how: {
      publish: async (inner, batch) => {
        const outcomes = await inner.publish(batch)
        void (await inner.publish(batch.slice(-1)))
        return outcomes
      },
    },
    caughtBy: ['publish/thousand-at-once', 'publish/many-results', 'groups/members-share'],
  },
  {
    lie: 'stores a batch in reverse',
    how: { publish: async (inner, batch) => (await inner.publish(batch.toReversed())).toReversed() },
    caughtBy: ['publish/many-order', 'publish/sequential-order', 'ordering/key', 'ordering/strict'],
  },
  {
    lie: 'acks on receipt',
    how: {
      onReceive: (batch, subscription) =>
        void subscription.settle(batch.map((delivery) => ({ delivery, outcome: { type: 'ack' } }))),
      afterSettle: () => [],
    },
    caughtBy: [
      'settle/ack-after-success',
      'settle/no-ack-without-success',
      'redelivery/closed-transport',
      'groups/member-leaves',
    ],
  },
  {
    lie: 'forgets to ack',
    how: { settle: (batch) => batch.filter(({ outcome }) => outcome.type !== 'ack') },
    caughtBy: ['settle/acked-stays-away', 'settle/ack-after-success', 'observability/lag'],
  },
  {
    lie: 'takes a second settle in silence',
    how: { afterSettle: () => [] },
    caughtBy: ['settle/second-refused'],
  },
  {
    lie: 'calls every delivery the first attempt',
    how: { deliver: (delivery) => changed(delivery, { attempt: 1 }) },
    caughtBy: ['redelivery/retry-delayed', 'redelivery/attempts-survive-reopen', 'redelivery/release-is-no-attempt'],
  },
  {
    lie: 'delivers again at once, whatever the delay',
    how: {
      settle: (batch) =>
        batch.map(({ delivery, outcome }) => ({
          delivery,
          outcome: outcome.type === 'nack' ? { ...outcome, delayMs: 0 } : outcome,
        })),
    },
    caughtBy: ['redelivery/not-early', 'redelivery/nack-delay'],
  },
  {
    lie: 'counts a release as an attempt',
    how: {
      settle: (batch) =>
        batch.map(({ delivery, outcome }) => ({
          delivery,
          outcome: outcome.type === 'release' ? { ...outcome, type: 'nack' as const } : outcome,
        })),
    },
    caughtBy: ['redelivery/release-is-no-attempt', 'redelivery/not-now'],
  },
  {
    lie: 'takes a nack for an ack',
    how: {
      settle: (batch) =>
        batch.map(({ delivery, outcome }) => ({
          delivery,
          outcome: outcome.type === 'nack' ? { type: 'ack' as const } : outcome,
        })),
    },
    caughtBy: ['redelivery/retry-auto', 'settle/deadline', 'ordering/key-retries'],
  },
  {
    lie: 'loses dead letters',
    how: {
      settle: (batch) =>
        batch.map(({ delivery, outcome }) => ({
          delivery,
          outcome: outcome.type === 'reject' ? { type: 'reject' as const, deadLetter: undefined } : outcome,
        })),
    },
    caughtBy: ['dead-letter/exhausted', 'dead-letter/rejected', 'dead-letter/plain-topic', 'settle/mixed-batch'],
  },
  {
    lie: 'keeps dead letters without their headers',
    how: {
      settle: (batch) =>
        batch.map(({ delivery, outcome }) => ({
          delivery,
          outcome:
            outcome.type === 'reject' && outcome.deadLetter !== undefined
              ? { type: 'reject' as const, deadLetter: { ...outcome.deadLetter, headers: {} } }
              : outcome,
        })),
    },
    caughtBy: ['dead-letter/exhausted', 'dead-letter/plain-topic'],
  },
  {
    lie: 'gives a redrive to everybody',
    how: { publish: (inner, batch) => inner.publish(batch.map((message) => ({ ...message, group: undefined }))) },
    caughtBy: ['dead-letter/redrive-one-group'],
  },
  {
    lie: 'does not remove what it says it removed',
    how: { admin: () => ({ remove: async (_topic, positions) => positions.length }) },
    caughtBy: ['dead-letter/redrive-all', 'dead-letter/purge', 'dead-letter/redrive-selection'],
  },
  {
    lie: 'does not delay',
    how: { publish: (inner, batch) => inner.publish(batch.map((message) => ({ ...message, deliverAt: undefined }))) },
    caughtBy: ['delay/in-time', 'delay/deliver-at', 'delay/by-due-time', 'delay/survives-reopen'],
  },
  {
    lie: 'hands over more than was requested',
    how: { subscription: (inner) => ({ request: (credit, bytes) => inner.request(credit + 1, bytes) }) },
    caughtBy: ['back-pressure/credit-count', 'back-pressure/never-returns'],
  },
  {
    lie: 'does not count bytes',
    how: { subscription: (inner) => ({ request: (credit) => inner.request(credit, 1e9) }) },
    caughtBy: ['back-pressure/credit-bytes', 'back-pressure/prefetch-bytes'],
  },
  {
    lie: 'does not pause',
    how: { subscription: () => ({ pause: () => undefined }) },
    caughtBy: ['back-pressure/pause-keeps-credit'],
  },
  {
    lie: 'loses its credit over a pause',
    how: {
      subscription: (inner) => ({
        request: () => undefined,
        resume: () => inner.resume(),
        pause: () => inner.pause(),
      }),
    },
    caughtBy: ['back-pressure/pause-keeps-credit', 'back-pressure/no-credit'],
  },
  {
    lie: 'keeps what it held when it closes',
    how: { close: async () => undefined, subscription: () => ({ close: async () => undefined }) },
    caughtBy: ['redelivery/closed-transport', 'observability/health'],
  },
  {
    lie: 'never finishes closing',
    how: { close: () => new Promise(() => undefined) },
    caughtBy: ['lifecycle/async-dispose'],
  },
  {
    lie: 'leaves a timer behind',
    how: { open: () => void leaked.push(setInterval(() => undefined, 60_000)) },
    caughtBy: ['lifecycle/nothing-left'],
  },
  {
    lie: 'makes a group of every member',
    how: { spec: (spec) => ({ ...spec, group: `${spec.group.slice(0, 60)}-${++uniqueGroup}` }) },
    caughtBy: ['groups/members-share', 'groups/default-is-service', 'groups/keeps-its-place'],
  },
  {
    lie: 'makes one group of all',
    how: { spec: (spec) => ({ ...spec, group: 'all' }) },
    caughtBy: ['groups/each-gets-all', 'groups/broadcast', 'lifecycle/two-buses'],
  },
  {
    lie: 'starts every group at the latest',
    how: { spec: (spec) => ({ ...spec, from: 'latest' }) },
    caughtBy: ['groups/late-earliest', 'replay/from-position', 'replay/from-time'],
  },
  {
    lie: 'starts every group at the earliest',
    how: { spec: (spec) => ({ ...spec, from: 'earliest' }) },
    caughtBy: ['groups/late-latest', 'groups/broadcast-keeps-nothing', 'replay/from-time'],
  },
  {
    lie: 'does not care for keys',
    how: { spec: (spec) => ({ ...spec, order: 'none' }) },
    caughtBy: ['ordering/two-members', 'ordering/strict-two-members'],
  },
  {
    lie: 'takes `*` for any number of tokens',
    how: { spec: (spec) => ({ ...spec, topic: spec.topic.replace(/\*.*$/, '>') }) },
    caughtBy: ['patterns/star'],
  },
  {
    lie: 'takes `>` for at least one token',
    how: { spec: (spec) => ({ ...spec, topic: spec.topic.replace(/>$/, '*') }) },
    caughtBy: ['patterns/tail'],
  },
  {
    lie: 'does not say what it took back',
    how: { lost: false },
    caughtBy: ['replay/seek-takes-back'],
  },
  {
    lie: 'reads the topic with the wrong first message',
    how: {
      admin: (inner) => ({
        read: async (topic, options) =>
          (await inner.read(topic, { ...options, limit: options.limit + 1 })).slice(
            options.after === undefined ? 1 : 0,
            options.limit,
          ),
      }),
    },
    caughtBy: ['replay/read-range', 'dead-letter/exhausted', 'dead-letter/many'],
  },
  {
    lie: 'knows no lag',
    how: {
      admin: (inner) => ({
        groups: async (topic) => (await inner.groups(topic)).map((info) => ({ ...info, lag: 0 })),
      }),
    },
    caughtBy: ['observability/lag', 'delay/counts-as-lag', 'settle/ack-after-success'],
  },
  {
    lie: 'ignores seek',
    how: { admin: () => ({ seek: async () => undefined }) },
    caughtBy: ['replay/seek-back', 'replay/seek-forward', 'replay/seek-to-position'],
  },
  {
    lie: 'spells headers in lower case',
    how: {
      publish: (inner, batch) =>
        inner.publish(
          batch.map((message) => ({
            ...message,
            headers: Object.fromEntries(
              Object.entries(message.headers).map(([name, value]) => [name.toLowerCase(), value]),
            ),
          })),
        ),
    },
    caughtBy: ['bad-bytes/header-names', 'bad-bytes/header-case', 'publish/envelope'],
  },
  {
    lie: 'trims header values',
    how: {
      publish: (inner, batch) =>
        inner.publish(
          batch.map((message) => ({
            ...message,
            headers: Object.fromEntries(Object.entries(message.headers).map(([name, value]) => [name, value.trim()])),
          })),
        ),
    },
    caughtBy: ['bad-bytes/header-padding'],
  },
  {
    lie: 'takes bodies for text',
    how: {
      publish: (inner, batch) =>
        inner.publish(
          batch.map((message) => ({ ...message, body: Buffer.from(Buffer.from(message.body ?? []).toString()) })),
        ),
    },
    caughtBy: ['bad-bytes/binary', 'dead-letter/undecodable', 'publish/largest'],
  },
  {
    lie: 'takes no body for an empty one',
    how: {
      publish: (inner, batch) => inner.publish(batch.map((message) => ({ ...message, body: bodyOf(message) }))),
    },
    caughtBy: ['publish/null', 'dead-letter/tombstone'],
  },
  {
    lie: 'forgets the key',
    how: { publish: (inner, batch) => inner.publish(batch.map((message) => ({ ...message, key: undefined }))) },
    caughtBy: ['publish/envelope', 'bad-bytes/keys-and-ids', 'ordering/key'],
  },
  {
    lie: 'makes up its own ids',
    how: { publish: (inner, batch) => inner.publish(batch.map((message) => ({ ...message, id: `x${++counter}` }))) },
    caughtBy: ['publish/envelope', 'publish/thousand-at-once'],
  },
  {
    lie: 'drops the headers of replies',
    how: { requestReply: answers((reply) => ({ ...reply, headers: {} })) },
    caughtBy: ['request/reply'],
  },
  {
    lie: 'makes up the ids of replies',
    how: { requestReply: answers((reply) => ({ ...reply, id: `x${++counter}` })) },
    caughtBy: ['request/reply', 'request/bare'],
  },
  {
    lie: 'takes a request without a body for an empty one',
    how: {
      requestReply: (inner) => ({
        request: (message, options) => inner.request({ ...message, body: bodyOf(message) }, options),
      }),
    },
    caughtBy: ['request/bare'],
  },
  {
    lie: 'gives a request the next reply that comes, whichever it is',
    how: { requestReply: firstComeFirstServed },
    caughtBy: ['request/reply', 'request/late-reply'],
  },
  {
    lie: 'sends a request twice',
    how: {
      requestReply: (inner) => ({
        request: (message, options) => {
          inner.request(message, options).catch(() => undefined)
          return inner.request(message, options)
        },
      }),
    },
    caughtBy: ['request/group-shares', 'request/busy'],
  },
  {
    lie: 'makes a reply of what the responder throws',
    how: {
      requestReply: (inner) => ({
        respond: (spec, responder) =>
          inner.respond(spec, async (request) => {
            try {
              return await responder(request)
            } catch (error) {
              return { ...request, body: Buffer.from(String(error)) }
            }
          }),
      }),
    },
    caughtBy: ['request/failure'],
  },
  {
    lie: 'lets a request wait when there is no responder',
    how: { requestReply: rejections((error) => (NoRespondersError.is(error) ? 'never' : error)) },
    caughtBy: ['request/no-responders', 'request/responder-close'],
  },
  {
    lie: 'waits longer for a reply than it may',
    how: {
      requestReply: (inner) => ({
        request: (message, { signal }) => inner.request(message, { timeoutMs: 3_600_000, signal }),
      }),
    },
    caughtBy: ['request/timeout', 'request/late-reply'],
  },
  {
    lie: 'gives up on a reply too early',
    how: {
      requestReply: (inner) => ({
        request: (message, options) => inner.request(message, { ...options, timeoutMs: options.timeoutMs / 4 }),
      }),
    },
    caughtBy: ['request/timeout'],
  },
  {
    lie: 'gives each request to all responders of a group',
    how: {
      requestReply: (inner) => ({
        respond: (spec, responder) => inner.respond({ ...spec, group: `g${++uniqueGroup}` }, responder),
      }),
    },
    caughtBy: ['request/group-shares'],
  },
  {
    lie: 'takes all responders for one group',
    how: {
      requestReply: (inner) => ({ respond: (spec, responder) => inner.respond({ ...spec, group: 'g' }, responder) }),
    },
    caughtBy: ['request/group-shares'],
  },
  {
    lie: 'lets a responder handle any number of requests',
    how: {
      requestReply: (inner) => ({
        respond: (spec, responder) => inner.respond({ ...spec, maxInFlight: 1_000 }, responder),
      }),
    },
    caughtBy: ['request/busy'],
  },
  {
    lie: 'does not hear when a request is aborted',
    how: {
      requestReply: (inner) => ({ request: (message, { timeoutMs }) => inner.request(message, { timeoutMs }) }),
    },
    caughtBy: ['request/abort'],
  },
  {
    lie: 'calls a request not sent that a responder may have',
    how: { requestReply: rejections((error) => (PublishError.is(error) ? asNotSent(error) : error)) },
    caughtBy: ['request/abort', 'request/close-rejects'],
  },
  {
    lie: 'sends requests of any size',
    how: {
      requestReply: (inner) => ({
        request: (message, options) =>
          inner.request(bodyBytes(message) > 1_000_000 ? { ...message, body: Buffer.from('{}') } : message, options),
      }),
    },
    caughtBy: ['request/too-large'],
  },
  {
    lie: 'forgets pending requests when it closes',
    how: { requestReply: rejections((error) => (PublishError.is(error) ? 'never' : error)) },
    caughtBy: ['request/close-rejects'],
  },
  {
    lie: 'fails what is running when a responder closes',
    how: {
      requestReply: (inner) => ({
        async respond(spec, responder) {
          const closed = Promise.withResolvers<never>()
          closed.promise.catch(() => undefined)
          const opened = await inner.respond(spec, (request) => Promise.race([responder(request), closed.promise]))
          return {
            close: (options) => {
              closed.reject(new Error('closed'))
              return opened.close(options)
            },
          }
        },
      }),
    },
    caughtBy: ['request/responder-close'],
  },
  {
    lie: 'does not wait for what is running when a responder closes',
    how: {
      requestReply: (inner) => ({
        async respond(spec, responder) {
          const opened = await inner.respond(spec, responder)
          return { close: async (options) => void opened.close(options) }
        },
      }),
    },
    caughtBy: ['request/responder-close'],
  },
  {
    lie: 'takes requests for a responder that was closed',
    how: {
      requestReply: (inner) => ({
        async respond(spec, responder) {
          await inner.respond(spec, responder)
          return { close: async () => undefined }
        },
      }),
    },
    caughtBy: ['request/responder-close'],
  },
  {
    lie: 'claims native request and reply, and has none',
    how: { requestReply: () => undefined },
    caughtBy: ['request/reply'],
  },
  {
    lie: 'stores all messages of a transaction but the last',
    how: {
      transaction: (inner) => async (batch) => {
        void (await inner.publish(batch.slice(0, -1)))
        return batch.map(() => undefined)
      },
    },
    caughtBy: ['transactions/all', 'transactions/many-at-once', 'transactions/tombstone'],
  },
  {
    lie: 'stores a transaction in any order',
    how: {
      transaction: (inner) => async (batch) => {
        void (await inner.publish(batch.toReversed()))
        return batch.map(() => undefined)
      },
    },
    caughtBy: ['transactions/many-at-once', 'transactions/all'],
  },
  {
    lie: 'claims transactions, and has none',
    how: { transaction: () => undefined },
    caughtBy: ['transactions/large', 'transactions/all'],
  },
  {
    lie: 'says that it has no transactions, and has the method',
    how: { capabilities: { transactions: false } },
    caughtBy: ['transactions/unsupported'],
    honest: { capabilities: { transactions: false }, transaction: () => undefined },
  },
  {
    lie: 'stores what goes with an ack twice',
    how: {
      settle: (batch) =>
        batch.map(({ delivery, outcome }) => ({
          delivery,
          outcome:
            outcome.type === 'ack' && outcome.publish !== undefined
              ? { type: 'ack' as const, publish: [...outcome.publish, ...outcome.publish] }
              : outcome,
        })),
    },
    caughtBy: ['transactions/exactly-once'],
  },
  {
    lie: 'acks without what goes with the ack',
    how: {
      settle: (batch) =>
        batch.map(({ delivery, outcome }) => ({
          delivery,
          outcome: outcome.type === 'ack' ? { type: 'ack' as const } : outcome,
        })),
    },
    caughtBy: ['transactions/exactly-once'],
  },
  {
    lie: 'throws into nowhere',
    how: { open: () => void Promise.reject(new Error('nobody looks')) },
    caughtBy: ['publish/bare-envelope', 'observability/bad-listeners'],
  },
]

const leaked: NodeJS.Timeout[] = []

describe('the suite finds a transport that', () => {
  for (const { lie, how, caughtBy } of LIES) {
    it(lie, { timeout: 60_000 }, async () => {
      for (const id of caughtBy) {
        const error = await run(id, how)
        for (const timer of leaked.splice(0)) clearInterval(timer)
        expect(error, `${id} must fail`).toBeDefined()
      }
    })
  }

  it('does not lie: there they pass', { timeout: 120_000 }, async () => {
    const honest = new Map(LIES.map((lie) => [lie.caughtBy[0] ?? '', lie.honest ?? {}]))
    for (const [id, how] of honest) expect([id, await run(id, how, 10_000)]).toEqual([id, undefined])
  })
})
