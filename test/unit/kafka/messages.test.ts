import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { Reader } from '../../../src/kafka/bytes/reader.ts'
import { Writer } from '../../../src/kafka/bytes/writer.ts'
import { KafkaError, MalformedError } from '../../../src/kafka/errors.ts'
import { allApis, apiOf } from '../../../src/kafka/protocol/apis.ts'
import { GENERATED_READERS, GENERATED_WRITERS } from '../../../src/kafka/protocol/codecs.ts'
import { readMessage } from '../../../src/kafka/protocol/read-message.ts'
import type { Message } from '../../../src/kafka/protocol/read-message.ts'
import type { Layout } from '../../../src/kafka/protocol/layout.ts'
import { writeMessage } from '../../../src/kafka/protocol/write-message.ts'
import { seededRandom } from '../../../src/testing/random.ts'
import { generatedFiles } from '../../../tools/kafka-protocol/generated-files.ts'
import { digestOf, goldenSamples } from '../../../tools/kafka-protocol/golden-samples.ts'
import { sampleMessage, withDefaults } from '../../../tools/kafka-protocol/sample-message.ts'

const apis = [...allApis().values()]
const samples = goldenSamples(apis.map(({ description }) => description).toSorted((a, b) => a.key - b.key))

function written(layout: Layout, message: Message): Buffer {
  const writer = new Writer(8)
  writeMessage(layout, message, writer, 'the test')
  return writer.toBuffer()
}

// Of Kafka 4.3's 93 keys, 17 are for brokers among themselves, and 4 are gone.
it('describes every API that a client calls, each once', () => {
  expect(apis).toHaveLength(72)
  expect(new Set(apis.map(({ description }) => description.key)).size).toBe(72)
})

describe('the table interpreter', () => {
  it("writes every version of every message as Kafka's own classes do", () => {
    const golden = readFileSync(join(import.meta.dirname, 'golden-messages.txt'), 'utf8')
      .trimEnd()
      .split('\n')
      .slice(1)
    const ours = samples.map(({ api, direction, message, version, sample }) => {
      const layout = apiOf(api.name as Parameters<typeof apiOf>[0])[direction](version)
      return `${message} ${version} ${digestOf(written(layout, sample))}`
    })
    expect(ours).toEqual(golden)
  })

  it('reads what it has written, and gives the default of what a version lacks', () => {
    for (const { api, direction, message, version, fields, sample } of samples) {
      const layout = apiOf(api.name as Parameters<typeof apiOf>[0])[direction](version)
      const reader = new Reader(written(layout, sample))
      expect({ message, version, read: readMessage(layout, reader) }).toEqual({
        message,
        version,
        read: withDefaults(fields, sample),
      })
      reader.expectEnd(message)
    }
  })

  it('refuses what the version has no field for and what must not be left out', () => {
    const layout = apiOf('FindCoordinator').request(2)
    expect(() => written(layout, { key: 'g', keyType: 0, coordinatorKeys: ['g'] })).toThrow(
      expect.objectContaining({ code: 'UNENCODABLE', message: expect.stringContaining('coordinatorKeys') }),
    )
    expect(() => written(layout, { key: 'g', keyType: 0, coordinatorKeys: [] })).not.toThrow()
  })

  it.each([
    ['a number for a string', { key: 5 }],
    ['a string for a number', { keyType: '0' }],
    ['null for a string', { key: null }],
    ['more than an int8', { keyType: 128 }],
  ])('refuses %s', (_, wrong) => {
    const layout = apiOf('FindCoordinator').request(2)
    expect(() => written(layout, { key: 'g', ...wrong })).toThrow(expect.objectContaining({ code: 'UNENCODABLE' }))
  })
})

describe('the generated functions', () => {
  it('are what the generator makes of the descriptions', () => {
    for (const { path, source } of generatedFiles()) expect(readFileSync(path, 'utf8')).toBe(source)
  })

  it('write and read the same as the table interpreter', () => {
    let compared = 0
    for (const api of apis) {
      const { name, versions, request, response } = api.description
      const write = GENERATED_WRITERS[name as 'Fetch']
      const read = GENERATED_READERS[name as 'Fetch']
      if (write === undefined || read === undefined) continue
      expect([write.length, read.length]).toEqual(Array(2).fill(versions.last - versions.first + 1))
      for (let version = versions.first; version <= versions.last; version++) {
        const random = seededRandom(`${name} ${version}`)
        for (let round = 0; round < 20; round++) {
          const asked = sampleMessage(request, version, random)
          const writer = new Writer(8)
          write[version - versions.first]?.(asked as never, writer, 'the test')
          expect({ name, version, bytes: writer.toBuffer().toString('hex') }).toEqual({
            name,
            version,
            bytes: written(api.request(version), asked).toString('hex'),
          })
          const bytes = written(api.response(version), sampleMessage(response, version, random))
          const answer = read[version - versions.first]?.(new Reader(bytes))
          expect(answer).toEqual(readMessage(api.response(version), new Reader(bytes)))
          compared++
        }
      }
    }
    expect(compared).toBeGreaterThan(1_000)
  })

  it('refuse what the version has no field for', () => {
    const write = GENERATED_WRITERS.OffsetFetch?.[0]
    expect(() => write?.({ groups: [{ groupId: 'g', topics: null }] }, new Writer(), 'OffsetFetch v1')).toThrow(
      /OffsetFetch v1 has no field groups/,
    )
    expect(() => GENERATED_WRITERS.Metadata?.[0]?.({ topics: null }, new Writer(), 'Metadata v0')).toThrow(
      /topics can't be null/,
    )
  })
})

describe('hostile bytes', () => {
  const readers = samples.flatMap(({ api, direction, message, version, sample }) => {
    const layout = apiOf(api.name as Parameters<typeof apiOf>[0])[direction](version)
    const bytes = written(layout, sample)
    const generated = direction === 'response' ? GENERATED_READERS[api.name as 'Fetch'] : undefined
    const fast = generated?.[version - api.versions.first]
    const read = (reader: Reader) => (fast === undefined ? readMessage(layout, reader) : fast(reader))
    return [{ message, version, bytes, read }]
  })

  it('of every message, truncated anywhere, end in a typed error', () => {
    const random = seededRandom('truncated')
    for (const { message, version, bytes, read } of readers) {
      for (let round = 0; round < 4 && bytes.length > 0; round++) {
        const cut = bytes.subarray(0, random.integer(0, bytes.length - 1))
        expect(() => read(new Reader(cut)), `${message} ${version}`).toThrow(MalformedError)
      }
    }
  })

  it('of every message, changed at random, end in a typed error or a value', () => {
    const random = seededRandom('flipped')
    const counts = { values: 0, errors: 0 }
    for (const { bytes, read } of readers) {
      for (let round = 0; round < 8 && bytes.length > 0; round++) {
        const changed = Buffer.from(bytes)
        for (let flips = random.integer(1, 3); flips > 0; flips--) {
          changed[random.integer(0, bytes.length - 1)] = random.pick([0, 0x7f, 0x80, 0xff, random.integer(0, 255)])
        }
        try {
          read(new Reader(changed))
          counts.values++
        } catch (error) {
          if (!(error instanceof KafkaError)) throw error
          counts.errors++
        }
      }
    }
    expect(counts.values).toBeGreaterThan(500)
    expect(counts.errors).toBeGreaterThan(500)
  })
})
