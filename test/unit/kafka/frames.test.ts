import { describe, expect, it } from 'vitest'
import { Writer } from '../../../src/kafka/bytes/writer.ts'
import { MalformedError } from '../../../src/kafka/errors.ts'
import { apiOf } from '../../../src/kafka/protocol/apis.ts'
import {
  commonVersion,
  firstApiVersionsVersion,
  negotiate,
  readApiVersions,
} from '../../../src/kafka/protocol/api-versions.ts'
import type { BrokerApis } from '../../../src/kafka/protocol/api-versions.ts'
import {
  decodeAssignment,
  decodeSubscription,
  encodeAssignment,
  encodeSubscription,
} from '../../../src/kafka/protocol/embedded.ts'
import { correlationIdOf, decodeResponse, encodeRequest } from '../../../src/kafka/protocol/frames.ts'
import { writeMessage } from '../../../src/kafka/protocol/write-message.ts'

const HEADER = { correlationId: 7, clientId: 'me' }

const hex = (chunks: readonly Buffer[]) => Buffer.concat(chunks).toString('hex')

describe('a request', () => {
  it('has size, key, version, correlation id and client id before its body', () => {
    const bytes = hex(encodeRequest('Heartbeat', 0, HEADER, { groupId: 'g', generationId: 1, memberId: 'm' }))
    expect(bytes).toBe('00000016 000c 0000 00000007 0002 6d65 0001 67 00000001 0001 6d'.replaceAll(' ', ''))
  })

  it('has tags behind the client id once its API is flexible; the client id never is compact', () => {
    const bytes = hex(
      encodeRequest('Heartbeat', 4, { ...HEADER, clientId: null }, { groupId: 'g', generationId: 1, memberId: 'm' }),
    )
    expect(bytes).toBe('00000015 000c 0004 00000007 ffff 00 0267 00000001 026d 00 00'.replaceAll(' ', ''))
  })

  it('carries record batches by reference, and counts them', () => {
    const batch = Buffer.alloc(5_000, 1)
    const chunks = encodeRequest('Produce', 9, HEADER, {
      acks: -1,
      timeoutMs: 1,
      topicData: [{ name: 't', partitionData: [{ index: 0, records: batch }] }],
    })
    expect(chunks).toContain(batch)
    expect(chunks[0]?.readInt32BE(0)).toBe(Buffer.concat(chunks).length - 4)
  })
})

describe('a response', () => {
  function response(name: 'Heartbeat' | 'ApiVersions', version: number, body: Record<string, unknown>, tags: boolean) {
    const writer = new Writer()
    writer.i32(7)
    if (tags) writer.uvarint(0)
    writeMessage(apiOf(name).response(version), body, writer, name)
    return writer.toBuffer()
  }

  it('has tags behind the correlation id once its API is flexible', () => {
    const frame = response('Heartbeat', 4, { throttleTimeMs: 5, errorCode: 27 }, true)
    expect(correlationIdOf(frame)).toBe(7)
    expect(decodeResponse('Heartbeat', 4, frame)).toEqual({ throttleTimeMs: 5, errorCode: 27 })
  })

  it('must end where its frame does', () => {
    const frame = Buffer.concat([response('Heartbeat', 0, { errorCode: 0 }, false), Buffer.from([0])])
    expect(() => decodeResponse('Heartbeat', 0, frame)).toThrow(expect.objectContaining({ code: 'INVALID_LENGTH' }))
  })

  describe('to ApiVersions', () => {
    const keys = [
      { apiKey: 0, minVersion: 3, maxVersion: 8 },
      { apiKey: 18, minVersion: 0, maxVersion: 3 },
      { apiKey: 9_999, minVersion: 0, maxVersion: 0 },
    ]

    it('has no tags in its header, and gives versions and features', () => {
      const finalizedFeatures = [{ name: 'transaction.version', minVersionLevel: 0, maxVersionLevel: 2 }]
      const answer = readApiVersions(
        3,
        response('ApiVersions', 3, { errorCode: 0, apiKeys: keys, finalizedFeatures }, false),
      )
      if (answer.type !== 'apis') throw new Error(answer.type)
      expect([...answer.apis.versions]).toEqual([
        ['Produce', { first: 3, last: 8 }],
        ['ApiVersions', { first: 0, last: 3 }],
      ])
      expect(answer.apis.features).toEqual(new Map([['transaction.version', 2]]))
    })

    it('of a broker that is too old comes as version 0 and names the version to ask with', () => {
      const asked = firstApiVersionsVersion()
      expect(asked).toBe(4)
      const refused = response('ApiVersions', 0, { errorCode: 35, apiKeys: keys }, false)
      expect(readApiVersions(asked, refused)).toEqual({ type: 'retry', version: 3 })
      const bare = response('ApiVersions', 0, { errorCode: 35, apiKeys: [] }, false)
      expect(readApiVersions(asked, bare)).toEqual({ type: 'retry', version: 0 })
    })

    it('makes no loop when a broker refuses what it offers', () => {
      const refused = response('ApiVersions', 0, { errorCode: 35, apiKeys: keys }, false)
      expect(readApiVersions(3, refused)).toEqual({ type: 'retry', version: 2 })
      expect(readApiVersions(0, refused)).toEqual({ type: 'error', errorCode: 35 })
    })

    it('can be another error', () => {
      const body = { errorCode: 31, apiKeys: [] }
      expect(readApiVersions(3, response('ApiVersions', 3, body, false))).toEqual({ type: 'error', errorCode: 31 })
    })

    it('can be cut anywhere', () => {
      const frame = response('ApiVersions', 3, { errorCode: 0, apiKeys: keys }, false)
      for (let size = 0; size < frame.length; size++) {
        expect(() => readApiVersions(3, frame.subarray(0, size))).toThrow(
          expect.objectContaining({ name: 'MalformedError' }),
        )
      }
    })
  })
})

describe('negotiation', () => {
  const apis: BrokerApis = {
    versions: new Map([
      ['Produce', { first: 0, last: 7 }],
      ['Fetch', { first: 0, last: 3 }],
      ['Metadata', { first: 0, last: 99 }],
      ['InitProducerId', { first: 0, last: 6 }],
    ]),
    features: new Map(),
  }

  it('takes the newest that both have, within a bound', () => {
    expect(negotiate(apis, 'Produce')).toBe(7)
    expect(negotiate(apis, 'Metadata')).toBe(13)
    expect(negotiate(apis, 'Metadata', 9)).toBe(9)
  })

  it('leaves out a version that may still change', () => {
    expect(negotiate(apis, 'InitProducerId')).toBe(5)
  })

  it('names both ranges when there is none', () => {
    expect(commonVersion(apis, 'Fetch')).toBeUndefined()
    expect(() => negotiate(apis, 'Fetch')).toThrow(/it has versions 0 to 3, this client has 4 to 18/)
    expect(() => negotiate(apis, 'ShareFetch')).toThrow(/it does not have it/)
  })
})

describe('the bytes of classic groups', () => {
  const subscription = {
    topics: ['a', 'b'],
    userData: null,
    ownedPartitions: [{ topic: 'a', partitions: [0, 2] }],
    generationId: 5,
    rackId: 'r',
  }

  it('are those of Kafka', () => {
    expect(encodeSubscription(subscription).toString('hex')).toBe(
      '0003 00000002 000161 000162 ffffffff 00000001 000161 00000002 00000000 00000002 00000005 000172'.replaceAll(
        ' ',
        '',
      ),
    )
    expect(decodeSubscription(encodeSubscription(subscription))).toEqual(subscription)
    const assignment = { assignedPartitions: [{ topic: 't', partitions: [1] }], userData: Buffer.from('x') }
    expect(decodeAssignment(encodeAssignment(assignment))).toEqual(assignment)
  })

  it('may be of an older or a newer version, or an assignment of nothing', () => {
    const old = Buffer.from('0000000000010001610000 0000'.replaceAll(' ', ''), 'hex')
    expect(decodeSubscription(old)).toMatchObject({
      topics: ['a'],
      ownedPartitions: [],
      generationId: -1,
      rackId: null,
    })
    const newer = Buffer.concat([encodeSubscription(subscription), Buffer.from('more')])
    newer.writeInt16BE(9)
    expect(decodeSubscription(newer)).toEqual(subscription)
    expect(decodeAssignment(Buffer.alloc(0))).toEqual({ assignedPartitions: [], userData: null })
  })

  it('may name version 1 and be of version 0, as some clients write them; but not end in the middle', () => {
    const named1 = Buffer.from('0001000000010001610000 0000'.replaceAll(' ', ''), 'hex')
    expect(decodeSubscription(named1)).toMatchObject({ topics: ['a'], ownedPartitions: [], generationId: -1 })
    expect(() => decodeSubscription(named1.subarray(0, -1))).toThrow(MalformedError)
    expect(() => decodeSubscription(encodeSubscription(subscription).subarray(0, -1))).toThrow(MalformedError)
  })
})
