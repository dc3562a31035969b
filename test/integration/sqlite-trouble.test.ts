import { closeSync, mkdirSync, openSync, renameSync, statSync, writeFileSync, writeSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { describe, expect, test, vi } from 'vitest'
import { sqlite } from 'busbar/sqlite'
import {
  ConfigurationError,
  ConnectionError,
  PublishError,
  SettlementError,
  StateError,
} from '../../src/core/errors.ts'
import { deadLetterTopic } from '../../src/core/topic.ts'
import type { Outcome } from '../../src/core/transport.ts'
import { waitUntil } from '../../src/testing/wait-until.ts'
import { resolveSqliteOptions } from '../../src/transports/sqlite/options.ts'
import type { Command } from '../../src/transports/sqlite/protocol.ts'
import { DatabaseThread, ThreadRefusedError } from '../../src/transports/sqlite/thread.ts'
import { SqliteTransport } from '../../src/transports/sqlite/transport.ts'
import { defer, errorOf, lagOf, many, newFile, newHost, open, outgoing, query, read, store } from './sqlite-harness.ts'

async function refusal(path: string): Promise<ConnectionError> {
  const transport = sqlite({ path })
  defer(() => transport.close())
  const error: unknown = await transport.open(newHost().host).then(
    () => undefined,
    (reason: unknown) => reason,
  )
  expect(error).toBeInstanceOf(ConnectionError)
  return error as ConnectionError
}

describe('a file that can not be used', () => {
  test('in a folder that does not exist', async () => {
    const path = join(dirname(newFile()), 'missing', 'bus.db')
    const error = await refusal(path)
    expect(error.message).toContain(`the folder "${dirname(path)}" does not exist`)
    expect(error.retryable).toBe(false)
  })

  test('because it is a folder', async () => {
    const path = newFile()
    mkdirSync(path)
    expect(await refusal(path)).toMatchObject({ message: expect.stringContaining('is a folder'), retryable: false })
  })

  test('because it is no database', async () => {
    const path = newFile()
    writeFileSync(path, 'this is not what you are looking for\n'.repeat(200))
    const error = await refusal(path)
    expect(error.message).toContain(path)
    expect(error.message).toMatch(/not an SQLite database.*another path/)
    expect(error.retryable).toBe(false)
  })

  test('because it belongs to another program, and it is left as it was', async () => {
    const path = newFile()
    const db = new DatabaseSync(path, { timeout: 5_000 })
    db.exec('CREATE TABLE theirs (a); INSERT INTO theirs VALUES (1)')
    db.close()
    expect((await refusal(path)).message).toMatch(/some other program.*a separate file/)
    expect(query(path, 'PRAGMA journal_mode')).toEqual([{ journal_mode: 'delete' }])
    expect(query(path, 'SELECT name FROM sqlite_schema')).toEqual([{ name: 'theirs' }])
  })

  test('because a newer version wrote it', async () => {
    const path = newFile()
    await (await open(path)).transport.close()
    const db = new DatabaseSync(path, { timeout: 5_000 })
    db.exec('PRAGMA user_version = 99')
    db.close()
    const error = await refusal(path)
    expect(error.message).toMatch(/newer Busbar.*99.*update/)
    expect(error.retryable).toBe(false)
  })

  test('is reported for options: all problems at once, and a hint for what has no file', () => {
    const wrong = { path: ':memory:', synchronous: 'off', leaseMs: 1, pathh: 'x', native: { pragmas: { 'a;b': 1 } } }
    expect(() => sqlite(wrong as never)).toThrow(ConfigurationError)
    expect(() => sqlite(wrong as never)).toThrow(
      /memory\(\) of busbar\/memory[^]*synchronous[^]*leaseMs[^]*pragmas[^]*pathh/,
    )
  })
})

describe('a damaged file', () => {
  test('is reported in plain words wherever it occurs; what can still be done is done', async () => {
    const path = newFile()
    const first = await open(path)
    await read(first.transport, 'a', 'g')
    await store(
      first.transport,
      many(400, 'a', () => ({ body: new Uint8Array(2_000) })),
    )
    await first.transport.close()
    const pageSize = 4_096
    const file = openSync(path, 'r+')
    // The header and the schema stay, most of the rest is rubbish.
    for (let page = 40; page < statSync(path).size / pageSize; page++)
      writeSync(file, Buffer.alloc(pageSize, 0x5a), 0, pageSize, page * pageSize)
    closeSync(file)

    const { transport, told } = await open(path)
    const failed = await transport.admin.read('a', { limit: 400 }).then(
      () => undefined,
      (error: unknown) => error as ConnectionError,
    )
    expect(failed).toBeInstanceOf(ConnectionError)
    expect(failed!.message).toContain(`"${path}" is damaged`)
    expect(failed!.retryable).toBe(false)
    const reader = await read(transport, 'a', 'g')
    reader.request(400)
    await waitUntil(() =>
      told.some(({ name, event }) => name === 'error' && 'doing' in event && event.doing.length > 0),
    )
    expect(transport.health()).toMatchObject({ connected: false, detail: expect.stringContaining('is damaged') })
  })
})

describe('a file that is taken away', () => {
  test('is noticed before anything more is confirmed into nowhere, and when it is put back', async () => {
    const path = newFile()
    const { transport, told } = await open(path, { leaseMs: 150 })
    await store(transport, [outgoing('a')])
    renameSync(path, `${path}.away`)
    const [outcome] = await transport.publish([outgoing('a')])
    expect(errorOf(outcome)).toMatchObject({ outcome: 'not-sent', retryable: false })
    expect(errorOf(outcome).message).toMatch(/deleted, moved or replaced/)
    expect(transport.health()).toMatchObject({ connected: false, detail: expect.stringContaining(path) })
    renameSync(`${path}.away`, path)
    await waitUntil(() => transport.health().connected)
    await store(transport, [outgoing('a')])
    expect(told.filter(({ name }) => name === 'warning')).toHaveLength(1)
  })

  test('is noticed without a publish', async () => {
    const path = newFile()
    const { transport, told } = await open(path, { leaseMs: 150 })
    renameSync(path, `${path}.away`)
    await waitUntil(() => !transport.health().connected)
    // Several looks and attempts later it has still been told once.
    const since = performance.now()
    await waitUntil(() => performance.now() - since > 500)
    renameSync(`${path}.away`, path)
    await waitUntil(() => transport.health().connected)
    expect(told.filter(({ name }) => name === 'error')).toHaveLength(1)
  })
})

describe('a full disk', () => {
  test('fails what does not fit, whole and clearly; room makes it work again', async () => {
    const path = newFile()
    const { transport, told } = await open(path, { native: { pragmas: { max_page_count: 100 } } })
    const kept = many(5, 'a', () => ({ body: new Uint8Array(20_000) }))
    await store(transport, kept)
    const large = many(100, 'a', () => ({ body: new Uint8Array(20_000) }))
    // Others may get through meanwhile, which changes nothing.
    const other = await read(transport, 'a', 'other')
    other.request(1)
    const outcomes = await transport.publish(large)
    for (const outcome of outcomes) {
      expect(errorOf(outcome)).toBeInstanceOf(PublishError)
      expect(errorOf(outcome)).toMatchObject({ outcome: 'not-sent', retryable: true })
      expect(errorOf(outcome).message).toMatch(/full.*make room/)
    }
    expect(transport.health()).toMatchObject({ connected: true, detail: expect.stringContaining('full') })
    expect(told.filter(({ name }) => name === 'warning')).toMatchObject([{ event: { code: 'sqlite-trouble' } }])

    // Nothing of it is there, and what was there is whole.
    expect((await transport.admin.read('a', { limit: 1_000 })).map(({ message }) => message.id)).toEqual(
      kept.map(({ id }) => id),
    )
    expect(query(path, 'PRAGMA integrity_check')).toEqual([{ integrity_check: 'ok' }])
    const reader = await read(transport, 'a', 'g')
    reader.request(10)
    expect(await reader.ack(...(await reader.take(5)))).toEqual([])
    await transport.admin.purge('a')
    await store(transport, large.slice(0, 10))
    expect(transport.health()).toEqual({ connected: true })
  })

  test('fails alone the call that does not fit, and not its neighbours of the same moment', async () => {
    const { transport } = await open(newFile(), { native: { pragmas: { max_page_count: 100 } } })
    const results = await Promise.all([
      transport.publish([outgoing('a', { id: 'before' })]),
      transport.publish([outgoing('a', { id: 'large', body: new Uint8Array(1_000_000) })]),
      transport.publish([outgoing('a', { id: 'after' })]),
    ])
    expect(results.map(([outcome]) => outcome?.error?.outcome)).toEqual([undefined, 'not-sent', undefined])
    const stored = await transport.admin.read('a', { limit: 10 })
    expect(stored.map(({ message }) => message.id)).toEqual(['before', 'after'])
  })

  test('keeps the source of a dead letter that can not be stored, which can be tried again', async () => {
    const { transport } = await open(newFile(), { native: { pragmas: { max_page_count: 100 } } })
    await store(transport, [outgoing('a')])
    const reader = await read(transport, 'a', 'g')
    reader.request(1)
    const [delivery] = await reader.take(1)
    const letter = (bytes: number) => outgoing(deadLetterTopic('a', 'g'), { body: new Uint8Array(bytes) })
    const failures = await reader.settle([delivery!], { type: 'reject', deadLetter: letter(1_000_000) })
    expect(failures).toMatchObject([{ index: 0, error: { outcome: 'not-sent' } }])
    expect(delivery!.lost).toBe(false)
    expect(await lagOf(transport, 'a', 'g')).toBe(1)
    expect(await reader.settle([delivery!], { type: 'reject', deadLetter: letter(10) })).toEqual([])
    expect(await lagOf(transport, 'a', 'g')).toBe(0)
    expect(await transport.admin.read(deadLetterTopic('a', 'g'), { limit: 5 })).toHaveLength(1)
  })

  test('fails alone the outcome whose messages can not be stored, and not those that are settled with it', async () => {
    const { transport } = await open(newFile(), { native: { pragmas: { max_page_count: 100 } } })
    await store(
      transport,
      many(8, 'a', (index) => ({ id: `m${index}` })),
    )
    const reader = await read(transport, 'a', 'g')
    reader.request(8)
    const deliveries = await reader.take(8)
    const publish = (id: string, bytes = 10) => [outgoing('out', { id, body: new Uint8Array(bytes) })]
    const letter = outgoing(deadLetterTopic('a', 'g'), { body: new Uint8Array(10) })
    const outcomes: Outcome[] = [
      { type: 'ack', publish: publish('first') },
      { type: 'ack' },
      { type: 'ack', publish: publish('large', 1_000_000) },
      { type: 'reject', deadLetter: letter },
      { type: 'nack', delayMs: 60_000 },
      { type: 'ack', publish: publish('last') },
      { type: 'reject', deadLetter: outgoing(deadLetterTopic('a', 'g'), { body: new Uint8Array(1_000_000) }) },
      { type: 'ack' },
    ]
    const batch = outcomes.map((outcome, index) => ({ delivery: deliveries[index]!, outcome }))
    const failures = await reader.subscription.settle(batch)
    expect(failures).toMatchObject([
      { index: 2, error: { outcome: 'not-sent' } },
      { index: 6, error: { outcome: 'not-sent' } },
    ])
    // Those two stay here, to be settled again; the nacked one waits for its time.
    expect(deliveries.map(({ lost }) => lost)).not.toContain(true)
    expect(await lagOf(transport, 'a', 'g')).toBe(3)
    const stored = await transport.admin.read('out', { limit: 5 })
    expect(stored.map(({ message }) => message.id)).toEqual(['first', 'last'])
    expect(await transport.admin.read(deadLetterTopic('a', 'g'), { limit: 5 })).toHaveLength(1)
    expect(await reader.settle([deliveries[2]!, deliveries[6]!], { type: 'ack' })).toEqual([])
    expect(await lagOf(transport, 'a', 'g')).toBe(1)
  })
})

describe('a file that others keep locked', () => {
  test('is waited for, within the busy timeout', async () => {
    const path = newFile()
    const { transport } = await open(path, { busyTimeoutMs: 10_000 })
    const db = new DatabaseSync(path, { timeout: 5_000 })
    defer(() => db.close())
    db.exec('BEGIN IMMEDIATE')
    const publishing = store(transport, [outgoing('a')])
    // The lock is held for sure while the thread tries.
    await new Promise((resolve) => setTimeout(resolve, 50))
    db.exec('COMMIT')
    expect(await publishing).toEqual([1])
  })

  test('fails the publish as not sent, and the settle so that the message comes again', async () => {
    const path = newFile()
    const { transport } = await open(path, { busyTimeoutMs: 50 })
    await store(
      transport,
      many(2, 'a', (index) => ({ key: 'k', id: `k${index}` })),
    )
    const reader = await read(transport, 'a', 'g')
    reader.request(1)
    const [first] = await reader.take(1)
    const db = new DatabaseSync(path, { timeout: 5_000 })
    defer(() => db.close())
    db.exec('BEGIN IMMEDIATE')
    const [outcome] = await transport.publish([outgoing('a')])
    expect(errorOf(outcome)).toMatchObject({ outcome: 'not-sent', retryable: true })
    expect(errorOf(outcome).message).toMatch(/another process.*busyTimeoutMs/)
    const [failure] = await reader.ack(first!)
    expect(failure!.error).toBeInstanceOf(SettlementError)
    reader.request(10)
    db.exec('COMMIT')
    // It is delivered again as it was said, and what stands behind it waits for that.
    await reader.take(3)
    expect(reader.received.map(({ message, attempt, history }) => [message.id, attempt, history])).toEqual([
      ['k0', 1, 'new'],
      ['k0', 1, 'returned'],
      ['k1', 1, 'new'],
    ])
    expect(await reader.ack(...reader.received.slice(1))).toEqual([])
    await waitUntil(() => transport.health().detail === undefined)
  })
})

describe('a database thread that dies', () => {
  test('is reported, is started again, and loses nothing, not even an attempt, because the process lives', async () => {
    const path = newFile()
    const { transport, told, events } = await open(path)
    await store(
      transport,
      many(4, 'a', (index) => ({ id: `c${index}` })),
    )
    const reader = await read(transport, 'a', 'g')
    const paused = await read(transport, 'a', 'paused')
    paused.subscription.pause()
    reader.request(2)
    paused.request(10)
    const out = await reader.take(2)
    const reconnected = events.once('reconnect')
    // What no version of ours would ever send.
    transport.thread!.send({ kind: 'publish', call: -1, batch: undefined } as unknown as Command)
    const [outcome] = await transport.publish([outgoing('a', { id: 'unsure' })])
    expect(errorOf(outcome)).toMatchObject({ outcome: 'unknown', retryable: true })
    expect(out.every(({ lost }) => lost)).toBe(true)
    expect(reader.lost.map(({ delivery }) => delivery)).toEqual(out)
    expect(transport.health()).toMatchObject({ connected: false })
    const [refused] = await transport.publish([outgoing('a')])
    expect(errorOf(refused)).toMatchObject({ outcome: 'not-sent', retryable: true })
    await expect(transport.admin.topics()).rejects.toThrow(/being started again/)
    expect(await reader.ack(...out)).toHaveLength(2)

    await reconnected
    expect(transport.health()).toEqual({ connected: true })
    expect(told.map(({ name }) => name).filter((name) => name !== 'warning')).toEqual([
      'connect',
      'error',
      'disconnect',
      'reconnect',
    ])
    reader.request(2)
    await reader.take(4)
    expect(reader.received.slice(2).map(({ message, attempt, history }) => [message.id, attempt, history])).toEqual([
      ['c0', 1, 'returned'],
      ['c1', 1, 'returned'],
    ])
    expect(paused.received).toEqual([])
    paused.subscription.resume()
    await paused.take(4)
  })

  test('seats a consumer once that subscribes while the others are seated again', async () => {
    const { transport, events } = await open(newFile())
    await store(
      transport,
      many(2, 'late', (index) => ({ id: `l${index}` })),
    )
    for (let count = 0; count < 5; count++) await read(transport, 'a', `g${count}`)
    const reconnected = events.once('reconnect')
    transport.thread!.send({ kind: 'publish', call: -1, batch: undefined } as unknown as Command)
    await transport.publish([outgoing('a')])
    while (transport.thread === undefined) await new Promise((resolve) => setImmediate(resolve))
    const late = await read(transport, 'late', 'g')
    late.request(1)
    await late.take(1)
    await reconnected
    expect(await transport.admin.groups('late')).toMatchObject([{ members: 1, inFlight: 1 }])
    expect(await late.ack(...late.received)).toEqual([])
    late.request(1)
    expect(await late.ack((await late.take(2))[1]!)).toEqual([])
    expect(late.ids()).toEqual(['l0', 'l1'])
    expect(await lagOf(transport, 'late', 'g')).toBe(0)
  })

  test('takes back what a new thread had handed out that could not seat every consumer', async () => {
    const { transport, events } = await open(newFile())
    await store(
      transport,
      many(2, 'a', (index) => ({ id: `m${index}` })),
    )
    const first = await read(transport, 'a', 'g')
    const second = await read(transport, 'b', 'g')
    first.request(2)
    await first.take(2)
    const reconnected = events.once('reconnect')
    const asked = vi.spyOn(DatabaseThread.prototype, 'ask')
    defer(() => asked.mockRestore())
    asked.mockImplementation(async function (this: DatabaseThread, question, ...rest) {
      asked.mockRestore()
      const answer = await this.ask(question, ...rest)
      // The first one is seated. The next question is the second one's.
      vi.spyOn(this, 'ask').mockImplementationOnce(async () => {
        first.request(2)
        await first.take(4)
        throw new ThreadRefusedError({ message: 'disk I/O error', sqlite: 10 })
      })
      return answer
    })
    transport.thread!.send({ kind: 'publish', call: -1, batch: undefined } as unknown as Command)
    await reconnected
    // Its thread was ended: a number of a delivery says nothing to the next one.
    expect(first.received.map(({ lost }) => lost)).toEqual([true, true, true, true])
    expect(first.lost.map(({ delivery }) => delivery)).toEqual(first.received)
    first.request(2)
    await first.take(6)
    expect(await first.ack(...first.received.slice(0, 4))).toHaveLength(4)
    expect(await lagOf(transport, 'a', 'g')).toBe(2)
    expect(await first.ack(...first.received.slice(4))).toEqual([])
    expect(await lagOf(transport, 'a', 'g')).toBe(0)
    second.request(1)
    await store(transport, [outgoing('b')])
    await second.take(1)
  })

  test('can be closed while it is being started again', async () => {
    const { transport } = await open(newFile())
    transport.thread!.send({ kind: 'publish', call: -1, batch: undefined } as unknown as Command)
    await transport.publish([outgoing('a')])
    await transport.close()
    expect(transport.health()).toMatchObject({ connected: false })
  })
})

describe('a program that reads the file for long', () => {
  test('keeps the write-ahead log from being shrunk: that is a warning, and it is shrunk when it can be', async () => {
    const path = newFile()
    const { transport, told } = await open(path, { leaseMs: 300, synchronous: 'normal' })
    await store(transport, [outgoing('a')])
    const db = new DatabaseSync(path, { timeout: 5_000 })
    defer(() => db.close())
    db.exec('BEGIN')
    db.prepare('SELECT count(*) FROM messages').get()
    const body = new Uint8Array(4_000_000)
    const warned = (): boolean => told.some(({ event }) => 'code' in event && event.code === 'sqlite-log-held')
    for (let sent = 0; sent < 25; sent++) await store(transport, [outgoing('a', { body })])
    await waitUntil(warned)
    db.exec('COMMIT')
    await waitUntil(() => statSync(`${path}-wal`).size <= 67_108_864)
  }, 60_000)
})

test('a transport that is closed while it starts says so', async () => {
  const transport = new SqliteTransport(resolveSqliteOptions({ path: newFile() }))
  const opening = transport.open(newHost().host)
  await transport.close()
  await expect(opening).rejects.toThrow(/closed while it was starting/)
  await expect(opening).rejects.toBeInstanceOf(StateError)
})
