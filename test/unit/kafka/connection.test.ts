import { describe, expect, it } from 'vitest'
import type { KafkaError } from '../../../src/kafka/errors.ts'
import type { Connection } from '../../../src/kafka/network/connection.ts'
import { FakeBroker, response, TestClock } from './fake-broker.ts'

const HEARTBEAT = { groupId: 'g', generationId: 1, memberId: 'm' }
const OK = { throttleTimeMs: 0, errorCode: 0 }

async function ready(options: Parameters<FakeBroker['connection']>[1] = {}) {
  const clock = new TestClock()
  const broker = new FakeBroker()
  const connection = broker.connection(clock, options)
  broker.negotiate()
  await connection.ready
  return { clock, broker, connection }
}

/** What became of a request so far. */
function watch(connection: Connection, waitMs = 0) {
  const seen: { error?: KafkaError; done: boolean } = { done: false }
  connection.request({
    name: 'Heartbeat',
    body: HEARTBEAT,
    waitMs,
    done: (error) => {
      seen.done = true
      if (error !== undefined) seen.error = error
    },
  })
  return seen
}

describe('a connection', () => {
  it('negotiates before it sends what was asked for earlier, in the order of the calls', async () => {
    const broker = new FakeBroker()
    const connection = broker.connection(new TestClock())
    broker.maxVersions = { Heartbeat: 2 }
    const first = connection.send('Heartbeat', HEARTBEAT)
    const second = connection.send('Heartbeat', (version) => ({ ...HEARTBEAT, memberId: `v${version}` }))
    expect(broker.asked).toEqual([])
    broker.negotiate()
    const [a, b] = [broker.next('Heartbeat'), broker.next('Heartbeat')]
    expect([a, b]).toMatchObject([
      { version: 2, clientId: 'me', body: { memberId: 'm' } },
      { version: 2, correlationId: a.correlationId + 1, body: { memberId: 'v2' } },
    ])
    broker.answer(a, OK)
    broker.answer(b, { ...OK, errorCode: 27 })
    expect(await first).toEqual({ response: OK, version: 2 })
    expect((await second).response.errorCode).toBe(27)
  })

  it('falls back to the version that an older broker offers', async () => {
    const broker = new FakeBroker()
    const connection = broker.connection(new TestClock())
    broker.connect()
    const refused = broker.next('ApiVersions')
    broker.answer(refused, { errorCode: 35, apiKeys: [{ apiKey: 18, minVersion: 0, maxVersion: 2 }] }, 0)
    expect(broker.asked[0]?.version).toBe(2)
    broker.answerApiVersions()
    expect((await connection.ready).versions.size).toBe(72)
  })

  it('keeps at most maxInFlight requests on the wire', async () => {
    const { broker, connection } = await ready()
    for (let count = 0; count < 5; count++) watch(connection)
    expect([broker.asked.length, connection.inFlight]).toEqual([3, 3])
    broker.answer(broker.next('Heartbeat'), OK)
    expect([broker.asked.length, connection.inFlight]).toEqual([3, 3])
  })

  it('takes answers in any pieces', async () => {
    const { broker, connection } = await ready()
    const requests = [watch(connection), watch(connection)]
    const bytes = Buffer.concat([0, 1].map(() => response(broker.next('Heartbeat'), OK, 4)))
    for (const byte of bytes) broker.send(Buffer.from([byte]))
    expect(requests).toEqual([{ done: true }, { done: true }])
  })

  it('is done with a request without answer once it is written', async () => {
    const { broker, connection } = await ready()
    const done: unknown[] = []
    connection.request({
      name: 'Produce',
      body: { acks: 0, timeoutMs: 1, topicData: [] },
      hasAnswer: false,
      done: (...all) => done.push(all),
    })
    expect(done).toEqual([[undefined, undefined, 13]])
    expect([broker.asked.length, connection.inFlight]).toEqual([1, 0])
  })

  it('is not done with it while the socket still has its bytes', async () => {
    const { broker, connection, clock } = await ready()
    const ended: unknown[] = []
    const request = () =>
      connection.request({
        name: 'Produce',
        body: { acks: 0, timeoutMs: 1, topicData: [] },
        hasAnswer: false,
        done: (error) => ended.push(error?.outcome ?? 'written'),
      })
    broker.isStalled = true
    request()
    expect(ended).toEqual([])
    broker.drain()
    expect(ended).toEqual(['written'])
    broker.isStalled = true
    request()
    clock.advance(1_000)
    expect(ended).toEqual(['written', 'unknown'])
    broker.drain()
    expect([ended.length, connection.isOpen]).toEqual([2, false])
  })

  it('fails a request alone that can not be encoded, or that the broker does not have', async () => {
    const broker = new FakeBroker()
    const connection = broker.connection(new TestClock())
    broker.maxVersions = { ShareFetch: -1 }
    broker.negotiate()
    const withoutBody = (): never => {
      throw new Error('no body')
    }
    await expect(connection.send('Heartbeat', { ...HEARTBEAT, generationId: 1.5 })).rejects.toMatchObject({
      code: 'UNENCODABLE',
      outcome: 'not-sent',
    })
    await expect(connection.send('Fetch', withoutBody)).rejects.toMatchObject({ outcome: 'not-sent' })
    await expect(connection.send('ShareFetch', withoutBody)).rejects.toMatchObject({ code: 'UNSUPPORTED_API' })
    const fine = watch(connection)
    broker.answer(broker.next('Heartbeat'), OK)
    expect(fine).toEqual({ done: true })
  })
})

describe('the end of a connection', () => {
  it('leaves what was written unknown, and what was not, not sent', async () => {
    const { broker, connection, clock } = await ready()
    const requests = Array.from({ length: 5 }, () => watch(connection))
    broker.cut(new Error('ECONNRESET'))
    expect(requests.map(({ error }) => error?.code)).toEqual(Array(5).fill('CONNECTION_CLOSED'))
    expect(requests.map(({ error }) => error?.outcome)).toEqual([
      ...Array(3).fill('unknown'),
      ...Array(2).fill('not-sent'),
    ])
    expect(requests[0]?.error?.message).toBe(
      'the connection to broker 1 was lost: ECONNRESET; the broker had answered nothing yet: does the port ask for SASL?',
    )
    expect((await connection.ended).code).toBe('CONNECTION_CLOSED')
    expect(watch(connection).error).toMatchObject({ code: 'CONNECTION_CLOSED', outcome: 'not-sent' })
    expect([clock.timers, connection.isOpen]).toEqual([0, false])
  })

  it.each([
    [
      'a correlation id out of order',
      (broker: FakeBroker) => broker.answer({ ...broker.next('Heartbeat'), correlationId: 99 }, OK),
      'CONNECTION_CLOSED',
    ],
    [
      'an answer that is too long',
      (broker: FakeBroker) => broker.send(Buffer.from('0000000d000000010000000000000000ff', 'hex')),
      'INVALID_LENGTH',
    ],
    [
      'a frame that is too large',
      (broker: FakeBroker) => broker.send(Buffer.from('7fffffff', 'hex')),
      'INVALID_LENGTH',
    ],
    ['a frame of negative size', (broker: FakeBroker) => broker.send(Buffer.from('ffffffff', 'hex')), 'INVALID_LENGTH'],
  ])('comes with %s', async (_, act, code) => {
    const { broker, connection } = await ready()
    const request = watch(connection)
    act(broker)
    expect(request.error).toMatchObject({ code, outcome: 'unknown' })
    expect([broker.isDestroyed, connection.isOpen]).toEqual([true, false])
  })

  it('comes with an answer that was not asked for', async () => {
    const { broker, connection } = await ready()
    broker.answer({ name: 'Heartbeat', version: 4, correlationId: 5, clientId: null, body: {} }, OK)
    expect((await connection.ended).message).toBe('broker 1 answered request 5 when none was next')
  })

  it('comes when a broker can not be connected to, or does not negotiate', async () => {
    for (const isConnected of [false, true]) {
      const clock = new TestClock()
      const broker = new FakeBroker()
      const connection = broker.connection(clock)
      const request = watch(connection)
      if (isConnected) broker.connect()
      clock.advance(isConnected ? 1_000 : 500)
      expect((await connection.ended).code).toBe('CONNECT_TIMEOUT')
      expect(request.error).toMatchObject({ outcome: 'not-sent' })
      await expect(connection.ready).rejects.toMatchObject({ code: 'CONNECT_TIMEOUT' })
      expect(clock.timers).toBe(0)
    }
  })

  it('at the first request asks whether the port is for SASL, later it does not', async () => {
    for (const answers of [0, 1]) {
      const { broker, connection } = await ready()
      watch(connection)
      watch(connection)
      for (let index = 0; index < answers; index++) broker.answer(broker.next('Heartbeat'), OK)
      broker.cut()
      const hint = '; the broker had answered nothing yet: does the port ask for SASL?'
      expect((await connection.ended).message).toBe(`the connection to broker 1 was lost${answers === 0 ? hint : ''}`)
    }
  })

  it('by the client settles everything', async () => {
    const { broker, connection, clock } = await ready()
    const request = watch(connection)
    connection.close()
    connection.close()
    expect(request.error).toMatchObject({ code: 'CLOSED', action: 'fatal', outcome: 'unknown' })
    expect([broker.isDestroyed, clock.timers]).toEqual([true, 0])
  })
})

describe('deadlines', () => {
  it('end the connection when an answer is late; the wait that a request asks for is added', async () => {
    const { broker, connection, clock } = await ready()
    const long = watch(connection, 5_000)
    clock.advance(5_999)
    expect(long.done).toBe(false)
    const other = watch(connection)
    clock.advance(1)
    expect(long.error).toMatchObject({ code: 'REQUEST_TIMEOUT', outcome: 'unknown' })
    expect(long.error?.message).toBe('broker 1 did not answer Heartbeat within 6000 ms')
    expect(other.error).toMatchObject({ code: 'REQUEST_TIMEOUT', outcome: 'unknown' })
    expect(broker.isDestroyed).toBe(true)
  })

  it('fail a request that could not be written, and nothing else', async () => {
    const { connection, clock } = await ready()
    const written = [1, 2, 3].map(() => watch(connection, 5_000))
    const queued = watch(connection)
    clock.advance(1_000)
    expect(queued.error).toMatchObject({ code: 'REQUEST_TIMEOUT', outcome: 'not-sent' })
    expect(written.map(({ done }) => done)).toEqual([false, false, false])
    expect(connection.isOpen).toBe(true)
  })

  it('count from when a request is written, not from the call', async () => {
    const { broker, connection, clock } = await ready()
    for (let count = 0; count < 3; count++) watch(connection)
    const queued = watch(connection)
    clock.advance(900)
    broker.answer(broker.next('Heartbeat'), OK)
    broker.answer(broker.next('Heartbeat'), OK)
    broker.answer(broker.next('Heartbeat'), OK)
    clock.advance(900)
    expect([queued.done, connection.isOpen]).toEqual([false, true])
    broker.answer(broker.next('Heartbeat'), OK)
    expect(queued).toEqual({ done: true })
  })

  it('set no timer once nothing waits, and do not spin while the wire is full', async () => {
    const { broker, connection, clock } = await ready()
    for (let count = 0; count < 4; count++) watch(connection, 60_000)
    clock.advance(999)
    expect(clock.fired).toBeLessThan(5)
    for (let count = 0; count < 4; count++) broker.answer(broker.next('Heartbeat'), OK)
    clock.advance(100_000)
    expect(clock.timers).toBe(0)
  })
})

describe('throttling', () => {
  it('mutes the connection for as long as the broker says', async () => {
    const throttled: unknown[] = []
    const { broker, connection, clock } = await ready({ onThrottle: (api, ms) => throttled.push([api, ms]) })
    watch(connection)
    broker.answer(broker.next('Heartbeat'), { ...OK, throttleTimeMs: 300 })
    const request = watch(connection)
    clock.advance(299)
    expect(broker.asked).toEqual([])
    clock.advance(1)
    broker.answer(broker.next('Heartbeat'), OK)
    expect(request).toEqual({ done: true })
    expect(throttled).toEqual([['Heartbeat', 300]])
  })

  it('does not silence a connection for days', async () => {
    const { broker, connection, clock } = await ready()
    watch(connection)
    broker.answer(broker.next('Heartbeat'), { ...OK, throttleTimeMs: 0x7fff_ffff })
    clock.advance(59_999)
    const request = watch(connection)
    clock.advance(1)
    broker.answer(broker.next('Heartbeat'), OK)
    expect(request).toEqual({ done: true })
  })
})
