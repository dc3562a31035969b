import { createHash } from 'node:crypto'
import type { ApiDescription, FieldDescription } from '../../src/kafka/protocol/description.ts'
import type { Message } from '../../src/kafka/protocol/read-message.ts'
import { seededRandom } from '../../src/testing/random.ts'
import { sampleMessage } from './sample-message.ts'

export interface GoldenSample {
  readonly api: ApiDescription
  readonly direction: 'request' | 'response'
  /** `FetchRequest` */
  readonly message: string
  readonly version: number
  readonly fields: readonly FieldDescription[]
  readonly sample: Message
}

/** One sample of each version of each message, always the same. */
export function goldenSamples(apis: readonly ApiDescription[]): readonly GoldenSample[] {
  return apis.flatMap((api) =>
    (['request', 'response'] as const).flatMap((direction) =>
      Array.from({ length: api.versions.last - api.versions.first + 1 }, (_, index) => {
        const version = api.versions.first + index
        const message = `${api.name}${direction === 'request' ? 'Request' : 'Response'}`
        const fields = api[direction]
        const sample = sampleMessage(fields, version, seededRandom(`${message} ${version}`))
        return { api, direction, message, version, fields, sample }
      }),
    ),
  )
}

export function digestOf(bytes: Buffer): string {
  return `${bytes.length} ${createHash('sha256').update(bytes).digest('hex').slice(0, 16)}`
}
