// Records what Kafka's own assignors decide, in test/unit/kafka/consumer/golden-assignments.txt: a line of input, a line of output.
// Needs a JDK and the jars that tools/brokers gets:
//
//     node tools/kafka-protocol/golden-assignments.ts

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { seededRandom } from '../../src/testing/random.ts'
import { exec } from '../brokers/exec.ts'
import { kafkaInstall } from '../brokers/kafka-install.ts'

const SAMPLES = 40
const RACKS = ['a', 'b', 'c']
const OUTPUT = join(import.meta.dirname, '..', '..', 'test', 'unit', 'kafka', 'consumer', 'golden-assignments.txt')

const seeded = seededRandom('golden assignments')
const random = () => seeded.next()
const below = (bound: number) => Math.floor(random() * bound)

/** Of the sticky assignor only first assignments of equal members are the same everywhere: Java's other results depend on its hash maps. */
function sampleOf(assignor: string, hasRacks: boolean) {
  const isSticky = assignor === 'cooperative-sticky'
  const names = Array.from({ length: 1 + below(4) }, (_, index) => `topic-${index}`)
  const topics = Object.fromEntries(
    names.map((name) => [name, Array.from({ length: 1 + below(9) }, () => replicas(hasRacks))]),
  )
  const members = Array.from({ length: 1 + below(6) }, (_, index) => {
    const some = names.filter(() => isSticky || random() < 0.8)
    const instanceId = !isSticky && random() < 0.3 ? `instance-${below(1_000)}-${index}` : null
    return { id: `m${below(1_000)}-${index}`, instanceId, topics: some, rack: hasRacks ? rackOfMember() : null }
  })
  return { assignor, topics, members }
}

function replicas(hasRacks: boolean): readonly string[] {
  if (!hasRacks) return []
  return RACKS.filter(() => random() < 0.5)
}

function rackOfMember(): string | null {
  return random() < 0.1 ? null : (RACKS[below(RACKS.length)] ?? null)
}

const samples = (
  [
    ['range', false],
    ['range', true],
    ['roundrobin', false],
    ['cooperative-sticky', false],
  ] as const
).flatMap(([assignor, hasRacks]) => Array.from({ length: SAMPLES }, () => JSON.stringify(sampleOf(assignor, hasRacks))))
const { java, classpath, version } = await kafkaInstall()
const folder = mkdtempSync(join(tmpdir(), 'busbar-golden-'))
writeFileSync(join(folder, 'samples.txt'), samples.join('\n'))
const program = join(import.meta.dirname, 'GoldenAssignments.java')
const result = await exec(java, ['-cp', classpath, program, join(folder, 'samples.txt')])
rmSync(folder, { recursive: true })
if (result.code !== 0) throw new Error(`GoldenAssignments.java failed: ${result.stderr}`)
const answers = result.stdout.trimEnd().split('\n')
if (answers.length !== samples.length) throw new Error(`${samples.length} samples, ${answers.length} answers`)
const title = `# Made by tools/kafka-protocol/golden-assignments.ts with Apache Kafka ${version}`
writeFileSync(OUTPUT, [title, ...samples.flatMap((sample, index) => [sample, answers[index]]), ''].join('\n'))
