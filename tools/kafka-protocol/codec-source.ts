import type { ApiDescription } from '../../src/kafka/protocol/description.ts'
import { layoutOf } from '../../src/kafka/protocol/layout.ts'
import { readerBody } from './reader-source.ts'
import { writerBody } from './writer-source.ts'

/** What is written or read once per batch, or often: the rest is left to the table interpreter. */
export const HOT_APIS: readonly string[] = [
  'Produce',
  'Fetch',
  'Metadata',
  'OffsetCommit',
  'OffsetFetch',
  'TxnOffsetCommit',
  'Heartbeat',
  'ConsumerGroupHeartbeat',
  'ShareGroupHeartbeat',
  'ShareFetch',
  'ShareAcknowledge',
]

/** A module with a function for each version of the request and of the response; equal versions share one. */
export function codecSource(api: ApiDescription): string {
  const { name } = api
  const requests = distinct(api, (version) =>
    writerBody(layoutOf(api, api.request, version), api.request, api.versions),
  )
  const responses = distinct(api, (version) => readerBody(layoutOf(api, api.response, version), `${name}Response`))
  const writers = requests.bodies.map(
    ([version, body]) =>
      `function write${version}(m: ${name}Request, w: Writer${body.includes('what') ? ', what: string' : ''}): void {\n${body}\n}\n`,
  )
  const readers = responses.bodies.map(
    ([version, body]) => `function read${version}(r: Reader): ${name}Response {\n${body}\n}\n`,
  )
  const helpers = ['absentField', 'notNull'].filter((helper) => writers.some((writer) => writer.includes(`${helper}(`)))
  return [
    '// Made by tools/kafka-protocol from the descriptions; long because each version has its function. Change those and run:',
    '//     node tools/kafka-protocol/generate.ts',
    '',
    "import type { Reader } from '../../bytes/reader.ts'",
    "import type { Writer } from '../../bytes/writer.ts'",
    ...(helpers.length > 0 ? [`import { ${helpers.join(', ')} } from '../write-message.ts'`] : []),
    `import type { ${name}Request, ${name}Response } from './api-types.ts'`,
    '',
    ...writers,
    ...readers,
    `/** By version, from ${api.versions.first} on. */`,
    `export const write${name}Request: readonly ((m: ${name}Request, w: Writer, what: string) => void)[] = [`,
    `  ${requests.byVersion.map((version) => `write${version}`).join(', ')},`,
    ']',
    '',
    `/** By version, from ${api.versions.first} on. */`,
    `export const read${name}Response: readonly ((r: Reader) => ${name}Response)[] = [`,
    `  ${responses.byVersion.map((version) => `read${version}`).join(', ')},`,
    ']',
    '',
  ].join('\n')
}

/** The bodies by the first version that has them, and for each version the one that it uses. */
function distinct(api: ApiDescription, make: (version: number) => string) {
  const bodies: [number, string][] = []
  const byVersion: number[] = []
  for (let version = api.versions.first; version <= api.versions.last; version++) {
    const body = make(version)
    let known = bodies.find(([, other]) => other === body)
    if (known === undefined) bodies.push((known = [version, body]))
    byVersion.push(known[0])
  }
  return { bodies, byVersion }
}

export function fileOf(name: string): string {
  return `${name.replaceAll(/(?<!^)[A-Z]/g, (letter) => `-${letter}`).toLowerCase()}.ts`
}
