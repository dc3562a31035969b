import { connect as connectTcp } from 'node:net'
import type { Socket } from 'node:net'
import { readFile } from 'node:fs/promises'
import { connect as connectTls } from 'node:tls'
import { describe, expect, test } from 'vitest'
import { startPrivate, waitFor } from '../../tools/brokers/index.ts'
import type { KafkaBroker } from '../../tools/brokers/index.ts'
import { ask, redis, skipIfMissing } from './broker-helpers.ts'

const SLOW = { timeout: 180_000 }

test('redis takes arguments', async (context) => {
  await using broker = await skipIfMissing(context, startPrivate('redis', { args: ['--requirepass', 's3cret'] }))
  expect(await redis(broker, 'GET x')).toContain('NOAUTH')
  expect(await redis(broker, 'AUTH s3cret')).toBe('+OK')
})

describe('nats', () => {
  test('takes configuration, and its monitor answers', async (context) => {
    const config = 'authorization { token: s3cret }\nmax_payload: 4096'
    await using broker = await skipIfMissing(context, startPrivate('nats', { config }))
    const info = JSON.parse((await ask(broker, '')).slice('INFO '.length)) as Record<string, unknown>
    expect(info).toMatchObject({ auth_required: true, max_payload: 4096, jetstream: true, version: broker.version })
    const jetStream = (await (await fetch(`${broker.monitorUrl}/jsz`)).json()) as Record<string, unknown>
    expect(jetStream).toHaveProperty('streams', 0)
  })

  test('comes as 2.9 and as the current line, and without JetStream', SLOW, async (context) => {
    await using old = await skipIfMissing(context, startPrivate('nats', { version: 'debian', jetStream: false }))
    await using current = await skipIfMissing(context, startPrivate('nats', { version: 'current' }))
    const info = JSON.parse((await ask(old, '')).slice('INFO '.length)) as Record<string, unknown>
    expect(info['version']).toBe(old.version)
    expect(info['jetstream']).toBeUndefined()
    expect(old.version).toMatch(/^2\./)
    expect(Number(current.version.split('.')[1])).toBeGreaterThanOrEqual(10)
  })
})

test('rabbitmq takes configuration and commands of rabbitmqctl', SLOW, async (context) => {
  const starting = startPrivate('rabbitmq', { conf: 'vm_memory_high_watermark.absolute = 300MB' })
  await using broker = await skipIfMissing(context, starting)
  expect(await broker.ctl('-q', 'environment')).toMatch(/vm_memory_high_watermark,\s*\{absolute,\s*"300MB"\}/)
  await broker.ctl('set_vm_memory_high_watermark', '0')
  const alarm = async (): Promise<boolean> => (await broker.ctl('-q', 'status')).includes('Memory alarm on node')
  expect(await waitFor(alarm, { timeoutMs: 10_000 })).toBe(true)
  await expect(broker.ctl('no_such_command')).rejects.toThrow('no_such_command')
})

test('postgres takes settings', async (context) => {
  const starting = startPrivate('postgres', { settings: { log_connections: 'on' } })
  await using broker = await skipIfMissing(context, starting)
  expect(await broker.healthy()).toBe(true)
  const logged = async (): Promise<boolean> => (await broker.logs()).includes('connection authorized')
  expect(await waitFor(logged, { timeoutMs: 5_000 })).toBe(true)
})

describe('kafka', () => {
  test('offers TLS and all SASL mechanisms, and knows its users', SLOW, async (context) => {
    await using broker = await skipIfMissing(context, startPrivate('kafka', { secure: true }))
    const { saslPlaintext, saslSsl, ssl } = broker.listeners
    const plain = connectTcp(address(saslPlaintext))
    expect(await mechanisms(plain)).toEqual(['PLAIN', 'SCRAM-SHA-256', 'SCRAM-SHA-512', 'OAUTHBEARER'].toSorted())
    expect(await login(connectTcp(address(saslPlaintext)), 'alice', 'alice-secret')).toBe(0)
    expect(await login(connectTcp(address(saslPlaintext)), 'alice', 'wrong')).toBe(SASL_AUTHENTICATION_FAILED)

    const { ca, cert, key } = await pems(broker)
    expect(await login(connectTls({ ...address(saslSsl), ca }), 'admin', 'admin-secret')).toBe(0)
    expect(await mechanismsOrNothing(connectTls({ ...address(ssl), ca }))).toBeUndefined()
    // SaslHandshake on a listener without SASL: an answer at all shows that the certificate was taken.
    expect(await mechanismsOrNothing(connectTls({ ...address(ssl), ca, cert, key }))).toBeDefined()
  })
})

const SASL_AUTHENTICATION_FAILED = 58

function address(listener: string | undefined): { readonly host: string; readonly port: number } {
  const [host = '', port] = (listener ?? '').split(':')
  return { host, port: Number(port) }
}

async function pems({
  tls,
}: KafkaBroker): Promise<{ readonly ca: string; readonly cert: string; readonly key: string }> {
  if (tls === undefined) throw new Error('no TLS files')
  const [ca, cert, key] = await Promise.all(
    [tls.caFile, tls.certFile, tls.keyFile].map((file) => readFile(file, 'utf8')),
  )
  return { ca: ca ?? '', cert: cert ?? '', key: key ?? '' }
}

/** One request and the body of its response, after size and correlation id. */
function call(socket: Socket, apiKey: number, version: number, body: Buffer): Promise<Buffer> {
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>()
  const head = Buffer.alloc(14)
  head.writeInt32BE(10 + body.length, 0)
  head.writeInt16BE(apiKey, 4)
  head.writeInt16BE(version, 6)
  head.writeInt32BE(7, 8)
  head.writeInt16BE(-1, 12)
  let received: Buffer = Buffer.alloc(0)
  const onData = (chunk: Buffer): void => {
    received = Buffer.concat([received, chunk])
    if (received.length < 4 || received.length < 4 + received.readInt32BE(0)) return
    socket.off('data', onData)
    resolve(received.subarray(8))
  }
  socket.on('data', onData)
  socket.on('error', reject)
  socket.on('close', () => reject(new Error('closed')))
  socket.write(Buffer.concat([head, body]))
  return promise
}

function kafkaString(text: string): Buffer {
  const length = Buffer.alloc(2)
  length.writeInt16BE(text.length)
  return Buffer.concat([length, Buffer.from(text)])
}

async function mechanisms(socket: Socket): Promise<readonly string[]> {
  const response = await call(socket, 17, 1, kafkaString('NOT-A-MECHANISM'))
  socket.destroy()
  const names: string[] = []
  let at = 6
  for (let left = response.readInt32BE(2); left > 0; left--) {
    const length = response.readInt16BE(at)
    names.push(response.toString('utf8', at + 2, at + 2 + length))
    at += 2 + length
  }
  return names.toSorted()
}

async function mechanismsOrNothing(socket: Socket): Promise<readonly string[] | undefined> {
  return mechanisms(socket).catch(() => undefined)
}

/** SASL PLAIN; resolves with Kafka's error code. */
async function login(socket: Socket, user: string, password: string): Promise<number> {
  await call(socket, 17, 1, kafkaString('PLAIN'))
  const token = Buffer.from(`\0${user}\0${password}`)
  const length = Buffer.alloc(4)
  length.writeInt32BE(token.length)
  const response = await call(socket, 36, 0, Buffer.concat([length, token]))
  socket.destroy()
  return response.readInt16BE(0)
}
