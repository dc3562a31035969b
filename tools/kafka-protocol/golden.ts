// Records what Kafka's own classes write: test/unit/kafka/golden-messages.txt has a digest of the bytes of a sample of every version
// of every message, golden-records.txt record batches of all formats and compressions. Needs a JDK and the jars that tools/brokers gets:
//
//     node tools/kafka-protocol/golden.ts

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { kafkaInstall } from '../brokers/kafka-install.ts'
import { exec } from '../brokers/exec.ts'
import { describedApis } from './generated-files.ts'
import { digestOf, goldenSamples } from './golden-samples.ts'

const TESTS = join(import.meta.dirname, '..', '..', 'test', 'unit', 'kafka')

const samples = goldenSamples(describedApis())
const input = samples.map(({ message, version, sample }) => `${message} ${version} ${json(sample)}\n`).join('')
const { java, classpath, version } = await kafkaInstall()
const folder = mkdtempSync(join(tmpdir(), 'busbar-golden-'))
writeFileSync(join(folder, 'samples.txt'), input)
const messages = await run('Golden.java', join(folder, 'samples.txt'))
const records = await run('GoldenRecords.java')
rmSync(folder, { recursive: true })
const encoded = messages.trimEnd().split('\n')
if (encoded.length !== samples.length) throw new Error(`${samples.length} samples, ${encoded.length} answers`)
const lines = samples.map(
  (sample, index) => `${sample.message} ${sample.version} ${digestOf(Buffer.from(encoded[index] ?? '', 'hex'))}`,
)
const title = `# Made by tools/kafka-protocol/golden.ts with Apache Kafka ${version}`
writeFileSync(join(TESTS, 'golden-messages.txt'), [title, ...lines, ''].join('\n'))
writeFileSync(join(TESTS, 'golden-records.txt'), `${title}\n${records}`)

async function run(program: string, ...args: readonly string[]): Promise<string> {
  const result = await exec(java, ['-cp', classpath, join(import.meta.dirname, program), ...args])
  if (result.code !== 0) throw new Error(`${program} failed: ${result.stderr}`)
  return result.stdout
}

function json(sample: unknown): string {
  const text = JSON.stringify(sample, (_, value: unknown) => {
    if (typeof value === 'bigint') return `bigint ${value}`
    const { type, data } = (value ?? {}) as { readonly type?: unknown; readonly data?: readonly number[] }
    return type === 'Buffer' && data !== undefined ? Buffer.from(data).toString('base64') : value
  })
  return text.replaceAll(/"bigint (-?\d+)"/g, '$1')
}
