import { readFileSync } from 'node:fs'
import { join } from 'node:path'

const lines = readFileSync(join(import.meta.dirname, 'golden-records.txt'), 'utf8')
  .trimEnd()
  .split('\n')
  .slice(1)

/** What Kafka's own classes wrote, by name: `v2-lz4`, `v0-gzip`, `control-commit` … */
export const GOLDEN_RECORDS: ReadonlyMap<string, Buffer> = new Map(
  lines
    .map((line) => line.split(' '))
    .filter(([name]) => name !== 'murmur2')
    .map(([name = '', hex = '']) => [name, Buffer.from(hex, 'hex')]),
)

export const GOLDEN_MURMUR2: readonly (readonly [key: Buffer, hash: number])[] = lines
  .map((line) => line.split(' '))
  .filter(([name]) => name === 'murmur2')
  .map(([, hex = '', hash]) => [Buffer.from(hex, 'hex'), Number(hash)])

const TIME = 1_700_000_000_000

interface GoldenRecord {
  readonly offset: number
  readonly timestamp: number
  readonly key: string | null
  readonly value: string | null
  readonly headers: readonly { readonly key: string; readonly value: string | null }[]
}

/** The records that GoldenRecords.java puts into each batch. */
export function goldenContent(magic: number): readonly GoldenRecord[] {
  return Array.from({ length: 12 }, (_, i) => ({
    offset: 100 + i,
    timestamp: magic === 0 ? -1 : TIME + (i === 3 ? -5_000_000_000 : i * 10),
    key: i % 3 === 0 ? null : `key-${i}`,
    value: i % 5 === 4 ? null : `value-${i}-${'abcdefgh'.repeat(i * 3)}`,
    headers:
      magic < 2 || i % 4 !== 1
        ? []
        : [
            { key: 'h', value: '1' },
            { key: 'h', value: null },
            { key: 'größe', value: '' },
          ],
  }))
}
