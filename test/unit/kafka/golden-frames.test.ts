import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { Reader } from '../../../src/kafka/bytes/reader.ts'
import { Writer } from '../../../src/kafka/bytes/writer.ts'
import { apiOf } from '../../../src/kafka/protocol/apis.ts'
import { readResponse } from '../../../src/kafka/protocol/codecs.ts'
import { encodeRequest } from '../../../src/kafka/protocol/frames.ts'
import { API_KEYS } from '../../../src/kafka/protocol/generated/api-types.ts'
import type { ApiName, Requests } from '../../../src/kafka/protocol/generated/api-types.ts'
import { readMessage } from '../../../src/kafka/protocol/read-message.ts'
import { writeMessage } from '../../../src/kafka/protocol/write-message.ts'

interface Exchange {
  readonly broker: string
  readonly api: ApiName
  readonly version: number
  readonly request: Buffer
  readonly response: Buffer
}

const exchanges = readFileSync(join(import.meta.dirname, 'golden-frames.txt'), 'utf8')
  .trimEnd()
  .split('\n')
  .slice(1)
  .map((line): Exchange => {
    const [broker = '', api, version, request = '', response = ''] = line.split(' ')
    return {
      broker,
      api: api as ApiName,
      version: Number(version),
      request: Buffer.from(request, 'base64'),
      response: Buffer.from(response, 'base64'),
    }
  })

describe('what real brokers have answered', () => {
  it('was recorded from Kafka 4 and 3.9, with the APIs of producers, consumers and admin clients', () => {
    const brokers = [...new Set(exchanges.map(({ broker }) => Number(broker.split('.')[0])))]
    expect(brokers.toSorted((a, b) => a - b)).toEqual([3, 4])
    expect(new Set(exchanges.map(({ api }) => api)).size).toBeGreaterThan(35)
  })

  it.each(exchanges)('$broker, $api $version: requests are written as they were', ({ api, version, request }) => {
    const reader = new Reader(request)
    expect([reader.i16(), reader.i16()]).toEqual([API_KEYS[api], version])
    const header = { correlationId: reader.i32(), clientId: reader.strOrNull(false) }
    if (apiOf(api).isFlexible(version)) reader.skipTags()
    const body = readMessage(apiOf(api).request(version), reader)
    reader.expectEnd(api)
    const again = Buffer.concat(encodeRequest(api, version, header, body as unknown as Requests[ApiName]))
    expect(again.subarray(4).toString('hex')).toBe(request.toString('hex'))
  })

  it.each(exchanges)('$broker, $api $version: responses are read, to their last byte', ({ api, version, response }) => {
    const reader = new Reader(response)
    reader.i32()
    if (api !== 'ApiVersions' && apiOf(api).isFlexible(version)) reader.skipTags()
    const start = response.length - reader.remaining
    const body = readResponse(api, version, reader)
    reader.expectEnd(api)
    const writer = new Writer()
    writeMessage(apiOf(api).response(version), body as never, writer, api)
    expect(writer.toBuffer().toString('hex')).toBe(response.subarray(start).toString('hex'))
  })
})
