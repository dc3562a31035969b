import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { bytesCodec, ConfigurationError, createBus, defineEvent, PublishError, textCodec } from 'busbar'
import type { Bus, Codec, Message, PublishMiddleware } from 'busbar'
import { claimCheck } from 'busbar/claim-check'
import type { ClaimCheckOptions, ClaimStore } from 'busbar/claim-check'
import { memory } from 'busbar/memory'
import type { MemoryTransport } from 'busbar/memory'
import { fileClaimStore } from 'busbar/stores/file'
import { memoryClaimStore } from 'busbar/stores/memory'
import { manualClock, waitUntil } from 'busbar/testing'

const Photo = defineEvent<{ pixels: string }>('photos.taken')
const LARGE = { pixels: 'x'.repeat(1_000_000) }
const SMALL = { pixels: 'y' }

const open: Bus[] = []
let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'busbar-claims-'))
})
afterEach(async () => {
  await Promise.all(open.splice(0).map((bus) => bus.close({ timeoutMs: 0 })))
  rmSync(folder, { recursive: true, force: true })
})

/** A bus with a claim check above 1,000 bytes. */
function busWith(
  options: ClaimCheckOptions,
  others: { publishMiddleware?: readonly PublishMiddleware[]; codecs?: readonly Codec[] } = {},
): { bus: Bus; transport: MemoryTransport } {
  const claims = claimCheck({ aboveBytes: 1_000, ...options })
  const transport = memory()
  const bus = createBus({
    service: 'test',
    transport,
    publishMiddleware: [...(others.publishMiddleware ?? []), claims.publishMiddleware],
    codecs: [claims.codec, ...(others.codecs ?? [])],
    logger: false,
  })
  open.push(bus)
  return { bus, transport }
}

function filesIn(path: string): string[] {
  return readdirSync(path, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
}

const STORES: [string, () => ClaimStore][] = [
  ['a folder', () => fileClaimStore({ folder: join(folder, 'claims') })],
  ['memory', () => memoryClaimStore()],
]

describe.each(STORES)('P-22 a claim check with its bodies in %s', (_, makeStore) => {
  it('lets two groups read a large body, and consuming deletes nothing', async () => {
    const store = makeStore()
    const { bus, transport } = busWith({ store })
    const seen: [string, Message<{ pixels: string }>][] = []
    bus.consume(Photo, (message) => void seen.push(['one', message]), { group: 'one' })
    bus.consume(
      Photo,
      (messages) => void seen.push(...messages.map((message) => ['two', message] as [string, Message<typeof LARGE>])),
      {
        group: 'two',
        batch: { size: 2, timeoutMs: 10 },
      },
    )
    await bus.start()
    await bus.publishMany(Photo, [{ data: LARGE }, { data: SMALL }])
    await waitUntil(() => seen.length === 4)
    const got = seen.map(([group, { data }]) => `${group} ${data.pixels.length}`).toSorted()
    expect(got).toEqual(['one 1', 'one 1000000', 'two 1', 'two 1000000'])
    const [claim, small] = transport.messages('photos.taken')
    expect(small?.contentType).toBe('application/json')
    expect(claim?.contentType).toBe('application/vnd.busbar.claim')
    expect(claim?.body?.byteLength).toBeLessThan(200)
    const { dataref, length } = JSON.parse(Buffer.from(claim?.body ?? []).toString()) as Record<string, unknown>
    expect(length).toBe(JSON.stringify(LARGE).length)
    expect((await store.get(dataref as string))?.byteLength).toBe(length)
  })

  it('has no body that was never stored', async () => {
    expect(await makeStore().get(`20260105/${'0'.repeat(64)}`)).toBeUndefined()
  })
})

describe('P-22 a body that is not what was published', () => {
  it.each<[string, (bodies: Map<string, Uint8Array>, name: string) => void, RegExp]>([
    ['removed', (bodies, name) => bodies.delete(name), /is not in the store: it was deleted, or this is another store/],
    [
      'shortened',
      (bodies, name) => bodies.set(name, Buffer.from('{}')),
      /was changed in the store: it has 2 bytes of the/,
    ],
    [
      'altered',
      (bodies, name) => bodies.set(name, Buffer.from(JSON.stringify({ pixels: 'z'.repeat(1_000_000) }))),
      /was changed in the store/,
    ],
  ])('%s means a dead letter without a retry, which carries the claim', async (_, change, problem) => {
    const store = memoryClaimStore()
    const { bus, transport } = busWith({ store })
    let calls = 0
    bus.consume(Photo, () => void calls++, { retry: { attempts: 5, baseMs: 1 } })
    await bus.start()
    await bus.consume('none', () => {}).ready
    // The body is changed before the message is sent.
    const encoded = await bus.encode(Photo, LARGE)
    for (const name of store.bodies.keys()) change(store.bodies, name)
    await bus.sendEncoded([encoded])
    const letters = bus.deadLetters('photos.taken')
    await waitUntil(async () => (await letters.list()).length === 1)
    const [letter] = await letters.list()
    expect(letter).toMatchObject({ reason: 'undecodable', attempts: 1 })
    expect(letter?.errorMessage).toMatch(problem)
    expect(letter?.message.body).toEqual(transport.messages('photos.taken')[0]?.body)
    expect(calls).toBe(0)
  })

  it.each<[string, unknown]>([
    ['a path', { dataref: '../../etc/passwd', length: 1, contentType: 'text/plain' }],
    ['a path with a hash', { dataref: `../${'0'.repeat(64)}`, length: 1, contentType: 'text/plain' }],
    ['no size', { dataref: `20260105/${'0'.repeat(64)}`, contentType: 'text/plain' }],
    ['null', null],
  ])('named by %s is refused before the store is asked', async (_, claim) => {
    const asked: string[] = []
    const { codec } = claimCheck({
      store: { put: async () => {}, get: async (name) => void asked.push(name) },
    })
    await expect(codec.decode(Buffer.from(JSON.stringify(claim)))).rejects.toThrow(/is not a claim/)
    expect(asked).toEqual([])
  })
})

describe('a claim check', () => {
  it('stores the same body once a day', async () => {
    const store = fileClaimStore({ folder })
    const clock = manualClock({ now: Date.parse('2026-01-05T23:00:00Z') })
    const { bus, transport } = busWith({ store, clock })
    await bus.start()
    await Promise.all([bus.publish(Photo, LARGE), bus.publish(Photo, LARGE)])
    await bus.publish(Photo, LARGE)
    expect(filesIn(folder)).toHaveLength(1)
    const [file] = filesIn(folder)
    const { ino } = statSync(file as string)
    await bus.publish(Photo, LARGE)
    expect(statSync(file as string).ino).toBe(ino)
    await clock.advance(2 * 3_600_000)
    await bus.publish(Photo, LARGE)
    expect(readdirSync(folder).toSorted()).toEqual(['20260105', '20260106'])
    expect(transport.messages('photos.taken')).toHaveLength(5)
  })

  it('sends nothing when the store fails', async () => {
    const { bus, transport } = busWith({
      store: { put: () => Promise.reject(new Error('the disk is full')), get: async () => undefined },
    })
    await bus.start()
    const error: unknown = await bus.publish(Photo, LARGE).catch((reason: unknown) => reason)
    expect(error).toBeInstanceOf(PublishError)
    expect(error).toMatchObject({
      outcome: 'not-sent',
      retryable: true,
      message: expect.stringContaining('the disk is full'),
    })
    await bus.publish(Photo, SMALL)
    expect(transport.messages('photos.taken')).toHaveLength(1)
  })

  it('retries while the store does not answer', async () => {
    const store = memoryClaimStore()
    let gets = 0
    const away: ClaimStore = {
      put: (name, body) => store.put(name, body),
      get: (name) => (++gets < 3 ? Promise.reject(new Error('connection refused')) : store.get(name)),
    }
    const { bus } = busWith({ store: away })
    const seen: number[] = []
    bus.consume(Photo, ({ data }, ctx) => void seen.push(data.pixels.length, ctx.attempt), { retry: { baseMs: 1 } })
    await bus.start()
    await bus.publish(Photo, LARGE)
    await waitUntil(() => seen.length > 0)
    expect(seen).toEqual([1_000_000, 3])
  })

  it('decodes with the codec of the body, and comes after other changes of the body', async () => {
    const reversed: Codec = {
      contentType: 'application/x-reversed',
      encode: (data) => Buffer.from(String(data)).reverse(),
      decode: (body) => Buffer.from(body).reverse().toString(),
    }
    const doubling: PublishMiddleware = (next) => (call) =>
      next({
        ...call,
        items: call.items.map((item) => ({
          ...item,
          transform: (message) => ({
            ...message,
            body: Buffer.concat([Buffer.from(message.body ?? []), Buffer.from(message.body ?? [])]),
          }),
        })),
      })
    const store = memoryClaimStore()
    const { bus } = busWith({ store, codecs: [reversed] }, { publishMiddleware: [doubling], codecs: [reversed] })
    const seen: unknown[] = []
    for (const topic of ['reversed', 'text', 'bytes']) bus.consume(topic, ({ data }) => void seen.push(data))
    await bus.start()
    await bus.publish(defineEvent<string>('reversed', { codec: reversed }), 'a'.repeat(600))
    await bus.publish(defineEvent<string>('text', { codec: textCodec }), 'b'.repeat(600))
    await bus.publish(defineEvent<Uint8Array>('bytes', { codec: bytesCodec }), Buffer.alloc(600, 1))
    await waitUntil(() => seen.length === 3)
    expect(seen).toEqual(['a'.repeat(1_200), 'b'.repeat(1_200), new Uint8Array(1_200).fill(1)])
    expect(store.bodies.size).toBe(3)
  })

  it('is named to a consumer that has no codec for it', async () => {
    const { bus, transport } = busWith({ store: memoryClaimStore() })
    await bus.start()
    await bus.publish(Photo, LARGE)
    const [claim] = transport.messages('photos.taken')
    const other = createBus({ service: 'other', transport: memory(), logger: false })
    open.push(other)
    other.consume(Photo, ({ data }) => data)
    await other.start()
    await other.sendEncoded([claim as never])
    const letters = other.deadLetters('photos.taken')
    await waitUntil(async () => (await letters.list()).length === 1)
    expect((await letters.list())[0]?.errorMessage).toContain(
      'No codec for content type "application/vnd.busbar.claim"',
    )
  })

  it('refuses wrong options', () => {
    const problems = (options: object): unknown => {
      try {
        return claimCheck(options as ClaimCheckOptions)
      } catch (error) {
        return (error as ConfigurationError).problems
      }
    }
    expect(problems({})).toEqual([{ path: 'store', message: 'is required: an object with put and get' }])
    expect(problems({ store: { put() {} }, aboveBytes: -1, codecs: [{}] })).toEqual([
      { path: 'store', message: 'must be an object with get(), got an object' },
      { path: 'aboveBytes', message: expect.stringContaining('must be a whole number >= 0') },
      { path: 'codecs.0', message: expect.stringContaining('must be an object with contentType') },
    ])
    expect(() => fileClaimStore({ folder: '' })).toThrow(ConfigurationError)
  })
})

describe('a folder of bodies', () => {
  it('deletes whole days, and nothing else', async () => {
    const store = fileClaimStore({ folder })
    const hash = '0'.repeat(64)
    for (const day of ['20260103', '20260104', '20260105']) await store.put(`${day}/${hash}`, Buffer.from(day))
    writeFileSync(join(folder, 'notes.txt'), 'mine')
    expect(await store.deleteBefore(new Date('2026-01-05T12:00:00Z'))).toBe(2)
    expect(readdirSync(folder).toSorted()).toEqual(['20260105', 'notes.txt'])
    expect(await store.get(`20260104/${hash}`)).toBeUndefined()
    expect(await fileClaimStore({ folder: join(folder, 'none') }).deleteBefore(new Date())).toBe(0)
  })

  it('leaves no half body behind a write that failed', async () => {
    const blocked = join(folder, 'file')
    writeFileSync(blocked, '')
    await expect(
      fileClaimStore({ folder: blocked }).put(`20260105/${'0'.repeat(64)}`, Buffer.from('x')),
    ).rejects.toThrow()
    await expect(fileClaimStore({ folder: blocked }).get(`20260105/${'0'.repeat(64)}`)).rejects.toThrow(/ENOTDIR/)
    expect(filesIn(folder)).toEqual([blocked])
  })
})
