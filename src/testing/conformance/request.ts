// Longer than most files: a list of scenarios, each independent of the others.
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { setImmediate as turn } from 'node:timers/promises'
import { NoRespondersError, PublishError, RemoteError, StateError, TimeoutError } from '../../core/errors.ts'
import type { EncodedMessage } from '../../core/message.ts'
import type { RequestReply, Responder, Transport } from '../../core/transport.ts'
import type { ScenarioContext } from './context.ts'
import { farTooLarge, outgoing } from './raw.ts'
import type { Scenario } from './scenario.ts'

const group = 'request'
const needs = ['request-reply'] as const
/** Much longer than any scenario may take. */
const NEVER_MS = 3_600_000

export const requestScenarios: readonly Scenario[] = [
  {
    id: 'request/reply',
    group,
    invariant: 15,
    title: 'request and reply arrive with every field as they were sent, and each request gets its own reply',
    needs,
    async run(ctx) {
      const [asking, answering, topic] = [await parts(ctx), await parts(ctx), ctx.topic()]
      const received: EncodedMessage[] = []
      const held: (() => void)[] = []
      const replies = new Map<string, EncodedMessage>()
      await answering.respond({ topic, group: ctx.group(), maxInFlight: 100 }, async (request) => {
        received.push(request)
        const reply = full(topic, { id: randomUUID(), correlationId: request.correlationId, causationId: request.id })
        replies.set(request.id, reply)
        // All are under way at once, and answered in reverse order.
        await new Promise<void>((resolve) => {
          held.unshift(resolve)
          if (held.length === 50) for (const release of held) release()
        })
        return reply
      })
      const requests = Array.from({ length: 50 }, () => full(topic, { body: ctx.random.bytes(300) }))
      const got = await Promise.all(requests.map((request) => asking.request(request, { timeoutMs: NEVER_MS })))
      for (const [index, request] of requests.entries()) {
        assertSameMessage(
          received.find(({ id }) => id === request.id),
          request,
        )
        assertSameMessage(got[index], replies.get(request.id))
      }
      assert.equal(received.length, 50, 'each request arrives once')
    },
  },
  {
    id: 'request/bare',
    group,
    invariant: 15,
    title: 'fields that were not given stay undefined, an empty body stays empty, and no body stays none',
    needs,
    async run(ctx) {
      const [asking, answering, topic] = [await parts(ctx), await parts(ctx), ctx.topic()]
      const bodies = [new Uint8Array(0), ...(ctx.capabilities.tombstones ? [null] : [])]
      const received: EncodedMessage[] = []
      await answering.respond({ topic, group: ctx.group(), maxInFlight: 1 }, (request) => {
        received.push(request)
        return request
      })
      for (const body of bodies) {
        const request = outgoing(topic, { body })
        const reply = await asking.request(request, { timeoutMs: NEVER_MS })
        assertSameMessage(received.at(-1), request)
        assertSameMessage(reply, request)
      }
    },
  },
  {
    id: 'request/failure',
    group,
    invariant: 15,
    title: 'what a responder throws, or a reply that is too large, reaches the requester as a RemoteError',
    needs,
    async run(ctx) {
      const [asking, answering, topic] = [await parts(ctx), await parts(ctx), ctx.topic()]
      const large = farTooLarge(answering.transport)
      await answering.respond({ topic, group: ctx.group(), maxInFlight: 1 }, (request) => {
        if (request.key === 'throw') throw new Error('nö:\nno such account ✗')
        return request.key === 'large' ? { ...request, body: large } : request
      })
      const ask = (key: string): Promise<EncodedMessage> =>
        asking.request(outgoing(topic, { key }), { timeoutMs: NEVER_MS })
      const error = await rejection(ask('throw'))
      assert.ok(RemoteError.is(error), `a RemoteError, not ${String(error)}`)
      assert.ok(error.message.includes('nö:\nno such account ✗'), error.message)
      assert.equal(error.retryable, false)
      // The size that no transport takes may be too much for a test.
      if (ctx.capabilities.maxMessageBytes <= MAX_TRIED_BYTES) assert.ok(RemoteError.is(await rejection(ask('large'))))
      assert.equal((await ask('fine')).key, 'fine')
    },
  },
  {
    id: 'request/no-responders',
    group,
    invariant: 15,
    title: 'without a responder, a request fails at once, and says so',
    needs,
    async run(ctx) {
      const [asking, answering, topic] = [await parts(ctx), await parts(ctx), ctx.topic()]
      const ask = (): Promise<unknown> => rejection(asking.request(outgoing(topic), { timeoutMs: NEVER_MS }))
      assert.ok(NoRespondersError.is(await ask()))
      // Neither another topic nor a consumer counts.
      await answering.respond({ topic: ctx.topic('other'), group: ctx.group(), maxInFlight: 1 }, (request) => request)
      const consumer = ctx.rawConsumer()
      await consumer.subscribe(answering.transport, { topic, group: ctx.group() })
      consumer.request(1)
      assert.ok(NoRespondersError.is(await ask()))
      assert.equal(consumer.deliveries.length, 0, 'a request is not a message of the topic')
    },
  },
  {
    id: 'request/timeout',
    group,
    invariant: 15,
    title: 'a request without an answer fails when its time is up, not before',
    needs,
    async run(ctx) {
      const [asking, answering, topic, gate] = [await parts(ctx), await parts(ctx), ctx.topic(), ctx.gate()]
      await answering.respond({ topic, group: ctx.group(), maxInFlight: 5 }, holdUntil(gate.opened))
      // Several times: on a busy machine, one that comes too early may look as if it were in time.
      for (let round = 0; round < 5; round++) {
        const startedAt = performance.now()
        const error = await rejection(asking.request(outgoing(topic), { timeoutMs: 100 }))
        assert.ok(TimeoutError.is(error), `a TimeoutError, not ${String(error)}`)
        const tookMs = performance.now() - startedAt
        assert.ok(tookMs >= 99, `after ${tookMs} ms`)
      }
    },
  },
  {
    id: 'request/late-reply',
    group,
    invariant: 15,
    title: 'a reply that comes too late is ignored, and does not answer another request',
    needs,
    async run(ctx) {
      const [asking, answering, topic, gate] = [await parts(ctx), await parts(ctx), ctx.topic(), ctx.gate()]
      let isLateSent = (): void => {}
      const lateSent = new Promise<void>((resolve) => (isLateSent = resolve))
      await answering.respond({ topic, group: ctx.group(), maxInFlight: 2 }, async (request) => {
        if (request.key === 'first') {
          await gate.opened
          isLateSent()
          return request
        }
        gate.open()
        await lateSent
        // The late reply is on its way before this one.
        await turn()
        return request
      })
      const first = outgoing(topic, { key: 'first' })
      assert.ok(TimeoutError.is(await rejection(asking.request(first, { timeoutMs: 50 }))))
      for (const key of ['second', 'third']) {
        const next = outgoing(topic, { key })
        assert.equal((await asking.request(next, { timeoutMs: NEVER_MS })).id, next.id)
      }
    },
  },
  {
    id: 'request/group-shares',
    group,
    invariant: 15,
    title: 'the responders of a group share the requests, and every group gets them all',
    needs,
    async run(ctx) {
      const [asking, topic] = [await parts(ctx), ctx.topic()]
      const [shared, other] = [ctx.group(), ctx.group()]
      const seen: { readonly by: string; readonly id: string }[] = []
      for (const by of ['first', 'second', 'other']) {
        const answering = await parts(ctx)
        await answering.respond({ topic, group: by === 'other' ? other : shared, maxInFlight: 100 }, (request) => {
          seen.push({ by, id: request.id })
          return request
        })
      }
      const requests = Array.from({ length: 60 }, () => outgoing(topic))
      await Promise.all(requests.map((request) => asking.request(request, { timeoutMs: NEVER_MS })))
      await ctx.waitUntil(
        () => seen.length >= 120,
        () => `${seen.length} of 120 requests`,
      )
      const ids = requests.map(({ id }) => id).sort()
      const idsOf = (...names: string[]): string[] =>
        seen
          .filter(({ by }) => names.includes(by))
          .map(({ id }) => id)
          .sort()
      assert.deepEqual(idsOf('first', 'second'), ids, 'each request is seen by one responder of the group')
      assert.deepEqual(idsOf('other'), ids, 'the other group sees all')
      for (const by of ['first', 'second']) assert.ok(idsOf(by).length > 0, `the ${by} responder has a share`)
    },
  },
  {
    id: 'request/busy',
    group,
    invariant: 15,
    title: 'a responder handles no more than it allows, and refuses the rest at once',
    needs,
    async run(ctx) {
      const [asking, answering, topic, gate] = [await parts(ctx), await parts(ctx), ctx.topic(), ctx.gate()]
      const started: string[] = []
      await answering.respond({ topic, group: ctx.group(), maxInFlight: 2 }, (request) => {
        started.push(request.id)
        return gate.opened.then(() => request)
      })
      const requests = Array.from({ length: 5 }, () => outgoing(topic))
      let refused = 0
      const results = requests.map((request) =>
        asking.request(request, { timeoutMs: NEVER_MS }).catch((error: unknown) => {
          refused++
          return error
        }),
      )
      await ctx.waitUntil(
        () => refused === 3,
        () => `${refused} of 3 requests are refused, ${started.length} run`,
      )
      gate.open()
      for (const result of await Promise.all(results))
        if (result instanceof Error) assert.ok(RemoteError.is(result) && result.retryable, String(result))
      assert.equal(started.length, 2)
      const { id } = await asking.request(outgoing(topic), { timeoutMs: NEVER_MS })
      assert.ok(started.includes(id), 'there is room again')
    },
  },
  {
    id: 'request/abort',
    group,
    invariant: 15,
    title: 'an aborted request fails at once, and says whether a responder may have it',
    needs,
    async run(ctx) {
      const [asking, answering, topic, gate] = [await parts(ctx), await parts(ctx), ctx.topic(), ctx.gate()]
      const seen: string[] = []
      await answering.respond({ topic, group: ctx.group(), maxInFlight: 2 }, (request) => {
        seen.push(request.id)
        return holdUntil(gate.opened)(request)
      })
      const reason = new Error('changed my mind')
      const ask = (signal: AbortSignal): Promise<EncodedMessage> =>
        asking.request(outgoing(topic), { timeoutMs: NEVER_MS, signal })
      assertFailed(await rejection(ask(AbortSignal.abort(reason))), 'not-sent', reason)
      const controller = new AbortController()
      const aborted = rejection(ask(controller.signal))
      await ctx.waitUntil(() => seen.length > 0, 'the request to arrive')
      controller.abort(reason)
      assertFailed(await aborted, 'unknown', reason)
      gate.open()
      const { id } = await asking.request(outgoing(topic), { timeoutMs: NEVER_MS })
      assert.equal(seen.length, 2, 'what was aborted before it was sent reaches no responder')
      assert.equal(seen[1], id)
    },
  },
  {
    id: 'request/too-large',
    group,
    invariant: 15,
    title: 'a request over the limit is refused as not sent',
    needs: ['request-reply', 'small-limit'],
    async run(ctx) {
      const [asking, answering, topic] = [await parts(ctx), await parts(ctx), ctx.topic()]
      const seen: string[] = []
      await answering.respond({ topic, group: ctx.group(), maxInFlight: 1 }, (request) => {
        seen.push(request.id)
        return request
      })
      const large = outgoing(topic, { body: farTooLarge(asking.transport) })
      assertFailed(await rejection(asking.request(large, { timeoutMs: NEVER_MS })), 'not-sent')
      const { id } = await asking.request(outgoing(topic), { timeoutMs: NEVER_MS })
      assert.deepEqual(seen, [id])
    },
  },
  {
    id: 'request/close-rejects',
    group,
    invariant: 15,
    title: 'closing the transport rejects its pending requests, and says that a responder may have them',
    needs,
    async run(ctx) {
      const [asking, answering, topic, gate] = [await parts(ctx), await parts(ctx), ctx.topic(), ctx.gate()]
      let started = 0
      await answering.respond({ topic, group: ctx.group(), maxInFlight: 10 }, (request) => {
        started++
        return holdUntil(gate.opened)(request)
      })
      const errors: unknown[] = []
      const pending = Array.from({ length: 3 }, () =>
        rejection(asking.request(outgoing(topic), { timeoutMs: NEVER_MS })).then((error) => errors.push(error)),
      )
      await ctx.waitUntil(() => started === 3, 'the requests to arrive')
      await asking.transport.close()
      await Promise.all(pending)
      for (const error of errors) assertFailed(error, 'unknown')
      assert.ok(StateError.is(await rejection(asking.request(outgoing(topic), { timeoutMs: NEVER_MS }))))
    },
  },
  {
    id: 'request/responder-close',
    group,
    invariant: 15,
    title:
      'a responder that is closed takes no more requests, and answers those that are running, or fails them in time',
    needs,
    async run(ctx) {
      const [asking, answering, topic, gate] = [await parts(ctx), await parts(ctx), ctx.topic(), ctx.gate()]
      let started = 0
      const respond: Responder = (request) => {
        started++
        return holdUntil(gate.opened)(request)
      }
      const ask = (): Promise<EncodedMessage> => asking.request(outgoing(topic), { timeoutMs: NEVER_MS })
      const spec = { topic, group: ctx.group(), maxInFlight: 10 }
      const stuck = await answering.respond(spec, respond)
      const failed = rejection(ask())
      await ctx.waitUntil(() => started === 1, 'the request to arrive')
      await stuck.close({ deadlineMs: 1 })
      assert.ok(RemoteError.is(await failed))
      const responder = await answering.respond(spec, respond)
      const answered = ask()
      await ctx.waitUntil(() => started === 2, 'the next request to arrive')
      let isClosed = false
      const closing = responder.close({ deadlineMs: NEVER_MS }).then(() => (isClosed = true))
      // Refused while the end of the subscription is on its way to the broker; nobody is there after it.
      const refused = await rejection(ask())
      assert.ok(NoRespondersError.is(refused) || (RemoteError.is(refused) && refused.retryable), String(refused))
      assert.equal(isClosed, false, 'close waits for what is running')
      gate.open()
      await closing
      await answered
      await responder.close()
      assert.ok(NoRespondersError.is(await rejection(ask())))
      assert.equal(started, 2)
    },
  },
]

/** A test may need several times that much memory. */
const MAX_TRIED_BYTES = 64 * 1_048_576

/** An open transport and its requests. */
async function parts(ctx: ScenarioContext): Promise<RequestReply & { readonly transport: Transport }> {
  const transport = await ctx.transport()
  const { requestReply } = transport
  assert.ok(requestReply !== undefined, 'with the capability "requestReply", a transport has `requestReply`')
  return {
    transport,
    request: (message, options) => requestReply.request(message, options),
    respond: (spec, responder) => requestReply.respond(spec, responder),
  }
}

/** A message with every field. */
function full(topic: string, fields: Partial<EncodedMessage>): EncodedMessage {
  return outgoing(topic, {
    type: 'com.example.priced',
    source: '//tills/7',
    key: 'customer-7',
    contentType: 'application/octet-stream',
    subject: 'order/7',
    dataSchema: 'https://example.com/priced.json',
    version: 3,
    correlationId: 'talk-1',
    causationId: 'cause-1',
    traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',
    tracestate: 'a=1,b=2',
    expiresAt: Date.now() + 600_000,
    headers: { 'x-one': '1', 'X-Two': 'zwei', 'ce-tenant': 'acme' },
    ...fields,
  })
}

function assertSameMessage(actual: EncodedMessage | undefined, expected: EncodedMessage | undefined): void {
  assert.ok(actual !== undefined && expected !== undefined, 'it did not arrive')
  const { body, headers, ...envelope } = expected
  for (const name of Object.keys(envelope) as (keyof typeof envelope)[]) {
    // How to publish it is not part of the message.
    if (!['deliverAt', 'group', 'copyOf'].includes(name)) assert.equal(actual[name], envelope[name], name)
  }
  assert.deepEqual({ ...actual.headers }, { ...headers })
  assert.equal(actual.body === null, body === null, 'no body')
  assert.ok(Buffer.from(actual.body ?? []).equals(Buffer.from(body ?? [])), 'the bytes of the body')
}

function holdUntil(opened: Promise<void>): (request: EncodedMessage) => Promise<EncodedMessage> {
  return (request) => opened.then(() => request)
}

async function rejection(request: Promise<unknown>): Promise<unknown> {
  return request.then(
    () => assert.fail('the request must be rejected'),
    (error: unknown) => error,
  )
}

function assertFailed(error: unknown, outcome: string, cause?: unknown): void {
  assert.ok(PublishError.is(error), `a PublishError, not ${String(error)}`)
  assert.equal(error.outcome, outcome)
  if (cause !== undefined) assert.equal(error.cause, cause)
}
