import assert from 'node:assert/strict'
import { describe, test } from 'vitest'
import { PublishError } from 'busbar'
import { manualClock } from 'busbar/testing'
import type { OutgoingMessage } from '../../../src/core/message.ts'
import type { PublishOutcome } from '../../../src/core/transport.ts'
import { outgoing } from '../../../src/testing/conformance/raw.ts'
import { Incoming } from '../../../src/transports/nats/connection/incoming.ts'
import type { NumberedReply } from '../../../src/transports/nats/connection/write-buffer.ts'
import { JetStreamPublisher } from '../../../src/transports/nats/jetstream/publish/publisher.ts'
import type { Session } from '../../../src/transports/nats/connection/session.ts'
import type { Subjects } from '../../../src/transports/nats/wire/subjects.ts'
import type { Topology } from '../../../src/transports/nats/jetstream/server/topology.ts'

interface Sent {
  readonly id: string
  readonly reply: string
}

function incoming(subject: string, text: string): Incoming {
  const message = new Incoming()
  message.subject = subject
  message.bytes = Buffer.from(text)
  message.end = message.bytes.length
  return message
}

/** A publisher, and a server that answers when the test says so. */
class Bench {
  readonly clock = manualClock()
  readonly publisher: JetStreamPublisher
  /** Ids in the order in which the stream has stored them. */
  readonly stored: string[] = []
  readonly session: { ready: boolean }
  #sent: Sent[] = []
  #receive: (message: Incoming) => void = () => undefined

  constructor() {
    const publishBlock = (_: Uint8Array, reply: NumberedReply, common: Uint8Array, rest: string): number => {
      const id = /ce-id: ([^\r]*)/.exec(Buffer.from(common).toString() + rest)?.[1] ?? ''
      this.#sent.push({ id, reply: `${Buffer.from(reply.start).toString()}${reply.number}` })
      return 1
    }
    const session = {
      ready: true,
      options: { envelope: 'cloudevents', maxInFlight: 100, maxMessageBytes: 1_000, retention: { topics: [] } },
      host: { clock: this.clock },
      maxPayload: 1_000_000,
      inbox: () => '_INBOX.x',
      subscribe: (_subject: string, receive: (message: Incoming) => void) => {
        this.#receive = receive
        return { unsubscribe: () => undefined }
      },
      writeBuffer: { publishBlock },
      flush: () => Promise.resolve(),
      remark: () => undefined,
    }
    this.session = session
    const topology = { ensure: () => Promise.resolve(), streamOf: () => 's', takes: () => true, maxAgeMs: undefined }
    this.publisher = new JetStreamPublisher(
      session as unknown as Session,
      { target: () => new Uint8Array(0) } as unknown as Subjects,
      topology as unknown as Topology,
    )
    this.publisher.open()
  }

  publish(messages: readonly OutgoingMessage[], signal?: AbortSignal): Promise<readonly PublishOutcome[]> {
    return this.publisher.publish(messages, signal)
  }

  /** What was sent since the last call. */
  takeSent(): readonly Sent[] {
    const sent = this.#sent
    this.#sent = []
    return sent
  }

  /** Nobody listens. */
  refuse({ reply }: Sent): void {
    this.#receive(incoming(reply, ''))
  }

  store({ id, reply }: Sent): void {
    if (!this.stored.includes(id)) this.stored.push(id)
    const seq = this.stored.indexOf(id) + 1
    this.#receive(incoming(reply, `{"stream":"s","seq":${seq}}`))
  }
}

const messages = (topic: string, ids: readonly string[]): OutgoingMessage[] =>
  ids.map((id) => outgoing(topic, { id, key: 'k' }))
const idsOf = (sent: readonly Sent[]): readonly string[] => sent.map(({ id }) => id)
const certainty = (outcomes: readonly PublishOutcome[]): readonly (string | undefined)[] =>
  outcomes.map(({ error }) => (PublishError.is(error) ? error.outcome : undefined))
const ALL = ['m1', 'm2', 'm3', 'm4', 'm5', 'm6', 'm7', 'm8']

describe('a stream without an answer', () => {
  test('stores messages in their order when it comes back in the middle of a burst that is sent again', async () => {
    const bench = new Bench()
    const outcomes = bench.publish(messages('orders', ALL))
    for (const sent of bench.takeSent()) bench.refuse(sent)
    // Whatever comes second, the first half of it finds nobody, and the rest finds the stream.
    await bench.clock.advance(100)
    const second = bench.takeSent()
    for (const [at, sent] of second.entries()) if (at < 4) bench.refuse(sent)
    for (const sent of second.slice(4)) bench.store(sent)
    for (let round = 0; bench.stored.length < ALL.length; round++) {
      assert.ok(round < 10, `stored are ${bench.stored.join()}`)
      await bench.clock.advance(1_000)
      for (const sent of bench.takeSent()) bench.store(sent)
    }
    assert.deepEqual(bench.stored, ALL)
    assert.ok((await outcomes).every(({ error }) => error === undefined))
  })

  test('holds up no other topic, and the next message goes ahead when the first is given up', async () => {
    const bench = new Bench()
    const controller = new AbortController()
    const first = bench.publish(messages('orders', ['m1']), controller.signal)
    const rest = bench.publish(messages('orders', ['m2', 'm3']))
    for (const sent of bench.takeSent()) bench.refuse(sent)
    await bench.clock.advance(100)
    assert.deepEqual(idsOf(bench.takeSent()), ['m1'])
    const others = bench.publish(messages('bills', ['b1', 'b2']))
    assert.deepEqual(idsOf(bench.takeSent()), ['b1', 'b2'])
    controller.abort(new Error('enough'))
    assert.deepEqual(certainty(await first), ['unknown'])
    const [ahead, ...none] = bench.takeSent()
    assert.deepEqual([ahead?.id, none], ['m2', []])
    bench.store(ahead as Sent)
    await Promise.resolve()
    const [last] = bench.takeSent()
    bench.store(last as Sent)
    assert.deepEqual(bench.stored, ['m2', 'm3'])
    assert.ok((await rest).every(({ error }) => error === undefined))
    bench.publisher.close()
    await others
  })
})

test('a topic that no stream answered for is forgotten once nothing of it waits and a stream answers', async () => {
  const bench = new Bench()
  const controller = new AbortController()
  const given = bench.publish(messages('gone', ['m1', 'm2']), controller.signal)
  for (const sent of bench.takeSent()) bench.refuse(sent)
  controller.abort(new Error('enough'))
  await given
  await bench.clock.advance(100)
  const stored = bench.publish(messages('orders', ['o1']))
  for (const sent of bench.takeSent()) bench.store(sent)
  await stored
  void bench.publish(messages('gone', ['m3', 'm4', 'm5']))
  assert.deepEqual(idsOf(bench.takeSent()), ['m3', 'm4', 'm5'])
  bench.publisher.close()
})

describe('a publish while the connection is known to be lost', () => {
  test('ends as not-sent when its wait is aborted, or the transport is closed', async () => {
    const bench = new Bench()
    bench.session.ready = false
    const controller = new AbortController()
    const aborted = bench.publish(messages('orders', ['m1', 'm2']), controller.signal)
    const closed = bench.publish(messages('orders', ['m3']))
    controller.abort(new Error('the deadline has passed'))
    bench.publisher.close()
    const outcomes = [...(await aborted), ...(await closed)]
    assert.deepEqual(certainty(outcomes), ['not-sent', 'not-sent', 'not-sent'])
    assert.deepEqual(bench.takeSent(), [])
  })
})
