import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ApiDescription } from '../../src/kafka/protocol/description.ts'
import { parseApis } from '../../src/kafka/protocol/notation.ts'
import { crc32cSource } from './crc32c-module.ts'
import { codecSource, fileOf, HOT_APIS } from './codec-source.ts'
import { typesSource } from './types-source.ts'

const PROTOCOL = join(import.meta.dirname, '..', '..', 'src', 'kafka', 'protocol')
const RECORDS = join(PROTOCOL, '..', 'records')
export const GENERATED: string = join(PROTOCOL, 'generated')

/** Read as text: the modules import what is generated here. */
export function describedApis(): readonly ApiDescription[] {
  const folder = join(PROTOCOL, 'descriptions')
  return readdirSync(folder)
    .filter((file) => file !== 'embedded.ts')
    .flatMap((file) =>
      parseApis(/`\n([^`]*)`/.exec(readFileSync(join(folder, file), 'utf8').replaceAll(/^\/\/.*$/gm, ''))?.[1] ?? ''),
    )
    .toSorted((a, b) => a.key - b.key)
}

export function generatedFiles(): readonly { readonly path: string; readonly source: string }[] {
  const apis = describedApis()
  const hot = apis.filter(({ name }) => HOT_APIS.includes(name))
  return [
    { path: join(GENERATED, 'api-types.ts'), source: typesSource(apis) },
    { path: join(RECORDS, 'crc32c-wasm.ts'), source: crc32cSource() },
    ...hot.map((api) => ({ path: join(GENERATED, fileOf(api.name)), source: codecSource(api) })),
  ]
}
