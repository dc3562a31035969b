// Records test/unit/kafka/golden-messages.txt: for every version of every message, a digest of the bytes that Kafka's own classes
// make of a sample. Needs a JDK and the jars that tools/brokers gets:
//
//     node tools/kafka-protocol/golden.ts

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { kafkaInstall } from '../brokers/kafka-install.ts'
import { exec } from '../brokers/exec.ts'
import { describedApis } from './generated-files.ts'
import { digestOf, goldenSamples } from './golden-samples.ts'

const TARGET = join(import.meta.dirname, '..', '..', 'test', 'unit', 'kafka', 'golden-messages.txt')

const samples = goldenSamples(describedApis())
const input = samples.map(({ message, version, sample }) => `${message} ${version} ${json(sample)}\n`).join('')
const { java, classpath, version } = await kafkaInstall()
const folder = mkdtempSync(join(tmpdir(), 'busbar-golden-'))
writeFileSync(join(folder, 'samples.txt'), input)
const program = join(import.meta.dirname, 'Golden.java')
const result = await exec(java, ['-cp', classpath, program, join(folder, 'samples.txt')])
rmSync(folder, { recursive: true })
if (result.code !== 0) throw new Error(`Golden.java failed: ${result.stderr}`)
const encoded = result.stdout.trimEnd().split('\n')
if (encoded.length !== samples.length) throw new Error(`${samples.length} samples, ${encoded.length} answers`)
const lines = samples.map(
  (sample, index) => `${sample.message} ${sample.version} ${digestOf(Buffer.from(encoded[index] ?? '', 'hex'))}`,
)
writeFileSync(
  TARGET,
  [`# Made by tools/kafka-protocol/golden.ts with Apache Kafka ${version}`, ...lines, ''].join('\n'),
)

function json(sample: unknown): string {
  const text = JSON.stringify(sample, (_, value: unknown) => {
    if (typeof value === 'bigint') return `bigint ${value}`
    const { type, data } = (value ?? {}) as { readonly type?: unknown; readonly data?: readonly number[] }
    return type === 'Buffer' && data !== undefined ? Buffer.from(data).toString('base64') : value
  })
  return text.replaceAll(/"bigint (\d+)"/g, '$1')
}
