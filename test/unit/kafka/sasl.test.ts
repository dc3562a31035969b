import { createHash, createHmac, pbkdf2Sync } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { oauthBearer } from '../../../src/kafka/network/sasl/oauth-bearer.ts'
import { scram } from '../../../src/kafka/network/sasl/scram.ts'
import type { SaslOptions } from '../../../src/kafka/network/sasl/sasl.ts'
import { FakeBroker, TestClock } from './fake-broker.ts'

const OK = { throttleTimeMs: 0, errorCode: 0 }
const PLAIN: SaslOptions = { mechanism: 'plain', credentials: { username: 'alice', password: 'pw' } }

/** Lets promises of the client run. */
const turn = () => new Promise((resolve) => setImmediate(resolve))

describe('SCRAM', () => {
  // RFC 7677, section 3.
  const NONCE = 'rOprNGfwEbeRWgbNEkqO'
  const SERVER_FIRST = `r=${NONCE}%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096`
  const exchange = () => scram('sha256', { username: 'user', password: 'pencil' }, false, NONCE)

  it('is that of RFC 7677', async () => {
    const sasl = exchange()
    expect(String(await sasl.next(undefined))).toBe(`n,,n=user,r=${NONCE}`)
    expect(String(await sasl.next(Buffer.from(SERVER_FIRST)))).toBe(
      `c=biws,r=${NONCE}%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=`,
    )
    expect(await sasl.next(Buffer.from('v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4='))).toBeUndefined()
  })

  it('escapes names, and marks delegation tokens', async () => {
    const sasl = scram('sha512', { username: 'a=b,c', password: 'p' }, true, 'N')
    expect(String(await sasl.next(undefined))).toBe('n,,n=a=3Db=2Cc,r=N,tokenauth=true')
  })

  it.each([
    ['a nonce of another exchange', 'r=other,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096'],
    ['our nonce alone', `r=${NONCE},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096`],
    ['no salt', `r=${NONCE}x,s=,i=4096`],
    ['too few iterations', `r=${NONCE}x,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=1`],
    ['far too many iterations', `r=${NONCE}x,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=2000000000`],
    ['nonsense', 'hello'],
  ])('refuses a server with %s', async (_, serverFirst) => {
    const sasl = exchange()
    await sasl.next(undefined)
    await expect((async () => sasl.next(Buffer.from(serverFirst)))()).rejects.toMatchObject({
      code: 'SASL_SERVER_REFUSED',
    })
  })

  it.each(['v=AAAA', 'v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=', 'e=invalid-proof', ''])(
    'refuses a server that does not prove itself: %s',
    async (serverFinal) => {
      const sasl = exchange()
      await sasl.next(undefined)
      await sasl.next(Buffer.from(SERVER_FIRST))
      expect(() => sasl.next(Buffer.from(serverFinal))).toThrow(
        expect.objectContaining({ code: 'SASL_SERVER_REFUSED' }),
      )
    },
  )
})

describe('OAUTHBEARER', () => {
  it('is that of RFC 7628, with extensions', async () => {
    const sasl = oauthBearer({ token: 'T', extensions: { logicalCluster: 'lkc-1' } })
    expect(String(await sasl.next(undefined))).toBe('n,,\u0001auth=Bearer T\u0001logicalCluster=lkc-1\u0001\u0001')
    expect(await sasl.next(Buffer.alloc(0))).toBeUndefined()
    expect(String(await sasl.next(Buffer.from('{"status":"invalid_token"}')))).toBe('\u0001')
  })

  it('refuses extensions that would change the message', () => {
    expect(() => oauthBearer({ token: 'T', extensions: { auth: 'x' } })).toThrow(/auth can't be/)
    expect(() => oauthBearer({ token: 'T', extensions: { a: '\u0001auth=Bearer X' } })).toThrow(/a can't be/)
  })
})

describe('a connection with SASL', () => {
  it('authenticates before anything else is sent', async () => {
    const broker = new FakeBroker()
    const connection = broker.connection(new TestClock(), { sasl: PLAIN })
    const request = connection.send('Heartbeat', { groupId: 'g', generationId: 1, memberId: 'm' })
    broker.negotiate()
    const handshake = broker.next('SaslHandshake')
    expect(handshake.body).toEqual({ mechanism: 'PLAIN' })
    broker.answer(handshake, { errorCode: 0, mechanisms: ['PLAIN'] })
    await broker.arrived()
    const authenticate = broker.next('SaslAuthenticate')
    expect(String(authenticate.body['authBytes'])).toBe('\0alice\0pw')
    expect(broker.asked).toEqual([])
    broker.answer(authenticate, { errorCode: 0, errorMessage: null, authBytes: Buffer.alloc(0), sessionLifetimeMs: 0n })
    await connection.ready
    broker.answer(broker.next('Heartbeat'), OK)
    expect((await request).response.errorCode).toBe(0)
  })

  it('says which mechanisms there are, and why credentials were refused', async () => {
    const cases = [
      {
        at: 'SaslHandshake',
        body: { errorCode: 33, mechanisms: ['SCRAM-SHA-256'] },
        message: /it offers SCRAM-SHA-256/,
      },
      {
        at: 'SaslAuthenticate',
        body: { errorCode: 58, errorMessage: 'no such user', authBytes: Buffer.alloc(0) },
        message: /no such user/,
      },
    ] as const
    for (const { at, body, message } of cases) {
      const broker = new FakeBroker()
      const clock = new TestClock()
      const connection = broker.connection(clock, { sasl: PLAIN })
      broker.negotiate()
      if (at === 'SaslAuthenticate') broker.answer(broker.next('SaslHandshake'), { errorCode: 0, mechanisms: [] })
      await broker.arrived()
      broker.answer(broker.next(at), body)
      const error = await connection.ended
      expect(error).toMatchObject({ code: 'AUTHENTICATION_FAILED', action: 'fatal' })
      expect(error.message).toMatch(message)
      expect(clock.timers).toBe(0)
    }
  })

  it('ends when credentials can not be had', async () => {
    const broker = new FakeBroker()
    const token = async () => {
      throw new Error('the token endpoint is down')
    }
    const connection = broker.connection(new TestClock(), { sasl: { mechanism: 'oauthbearer', token } })
    broker.negotiate()
    broker.answer(broker.next('SaslHandshake'), { errorCode: 0, mechanisms: [] })
    const error = await connection.ended
    // It may work the next time.
    expect(error).toMatchObject({ code: 'AUTHENTICATION_UNAVAILABLE', action: 'refresh', retriable: true })
    expect(error.message).toBe('authentication to broker 1 by OAUTHBEARER failed: the token endpoint is down')
  })

  it('speaks SCRAM with a server', async () => {
    const broker = new FakeBroker()
    const connection = broker.connection(new TestClock(), {
      sasl: { mechanism: 'scram-sha-512', credentials: () => ({ username: 'u', password: 'p' }) },
    })
    broker.negotiate()
    broker.answer(broker.next('SaslHandshake'), { errorCode: 0, mechanisms: [] })
    await broker.arrived()
    const first = broker.next('SaslAuthenticate')
    const clientFirst = String(first.body['authBytes']).slice(3)
    const nonce = `${clientFirst.split('r=')[1]}server`
    const serverFirst = `r=${nonce},s=${Buffer.from('salt').toString('base64')},i=4096`
    broker.answer(first, {
      errorCode: 0,
      errorMessage: null,
      authBytes: Buffer.from(serverFirst),
      sessionLifetimeMs: 0n,
    })
    await broker.arrived()
    const second = broker.next('SaslAuthenticate')
    const [withoutProof = '', proof = ''] = String(second.body['authBytes']).split(',p=')
    const salted = pbkdf2Sync('p', 'salt', 4_096, 64, 'sha512')
    const hmac = (key: Buffer, text: string) => createHmac('sha512', key).update(text).digest()
    const authMessage = `${clientFirst},${serverFirst},${withoutProof}`
    const clientKey = hmac(salted, 'Client Key')
    const signature = hmac(createHash('sha512').update(clientKey).digest(), authMessage)
    expect(Buffer.from(proof, 'base64').map((byte, index) => byte ^ (signature[index] ?? 0))).toEqual(clientKey)
    const serverFinal = `v=${hmac(hmac(salted, 'Server Key'), authMessage).toString('base64')}`
    broker.answer(second, {
      errorCode: 0,
      errorMessage: null,
      authBytes: Buffer.from(serverFinal),
      sessionLifetimeMs: 0n,
    })
    await connection.ready
  })
})

describe('authenticating again', () => {
  const answer = { errorCode: 0, errorMessage: null, authBytes: Buffer.alloc(0), sessionLifetimeMs: 10_000n }

  async function authenticated() {
    const broker = new FakeBroker()
    const clock = new TestClock()
    let times = 0
    const credentials = () => ({ username: `alice${++times}`, password: 'pw' })
    const connection = broker.connection(clock, { sasl: { mechanism: 'plain', credentials } })
    broker.negotiate()
    await exchange(broker)
    await connection.ready
    return { broker, clock, connection }
  }

  async function exchange(broker: FakeBroker): Promise<string> {
    broker.answer(broker.next('SaslHandshake'), { errorCode: 0, mechanisms: [] })
    await broker.arrived()
    const authenticate = broker.next('SaslAuthenticate')
    broker.answer(authenticate, answer)
    await turn()
    return String(authenticate.body['authBytes'])
  }

  const send = (connection: Awaited<ReturnType<typeof authenticated>>['connection']) =>
    connection.send('Heartbeat', { groupId: 'g', generationId: 1, memberId: 'm' }, { waitMs: 20_000 })

  it('happens at 85 % of the session, with new credentials, and holds up nothing when idle', async () => {
    const { broker, clock, connection } = await authenticated()
    for (let round = 2; round < 5; round++) {
      clock.advance(8_499)
      expect(broker.asked).toEqual([])
      clock.advance(1)
      expect(await exchange(broker)).toBe(`\0alice${round}\0pw`)
    }
    const request = send(connection)
    broker.answer(broker.next('Heartbeat'), OK)
    await request
  })

  it('waits for the answers on the way, and lets new requests wait', async () => {
    const { broker, clock, connection } = await authenticated()
    const before = send(connection)
    const pending = broker.next('Heartbeat')
    clock.advance(8_500)
    const during = send(connection)
    expect(broker.asked).toEqual([])
    broker.answer(pending, OK)
    await before
    await exchange(broker)
    broker.answer(broker.next('Heartbeat'), OK)
    await during
  })

  it('ends the connection when those answers do not come', async () => {
    const { broker, clock, connection } = await authenticated()
    const before = send(connection)
    const during = (clock.advance(8_500), send(connection))
    clock.advance(9_999)
    expect(connection.isOpen).toBe(true)
    clock.advance(1)
    await expect(before).rejects.toMatchObject({ outcome: 'unknown' })
    await expect(during).rejects.toMatchObject({ outcome: 'not-sent' })
    expect(broker.isDestroyed).toBe(true)
  })
})
