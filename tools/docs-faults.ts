// Turns the reports of the fault tests into the tables of docs/explanation/reliability.md, and of docs/kafka/faults.md for the Kafka client:
//
//     npm run test:soak -- test/fault      writes reports/faults/<transport>.json
//     npm run docs:faults                  updates the pages from the existing reports
//
// No cell is typed by hand. A report in which a message is missing or out of order is refused.

import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { FaultReport, FaultRow } from '../test/fault/fault-report.ts'
import type { KafkaFaultReport, KafkaFaultRow } from '../test/fault/kafka-fault-report.ts'
import { markdownTable, replaceSection } from './markdown.ts'

const ROOT = join(import.meta.dirname, '..')
const FOLDER = join(ROOT, 'reports/faults')
const PAGE = join(ROOT, 'docs/explanation/reliability.md')
const KAFKA_PAGE = join(ROOT, 'docs/kafka/faults.md')
const HEAD = ['fault', 'confirmed', 'unknown', 'not sent', 'missing', 'repeated', 'out of order', 'back after']

export function faultSection({ transport, version, rows }: FaultReport): string {
  const bad = rows.filter(({ missing, outOfOrder }) => missing + outOfOrder > 0)
  if (bad.length > 0)
    throw new Error(
      `${transport}: messages are missing or out of order after: ${bad.map(({ fault }) => fault).join(', ')}`,
    )
  return [
    `${transport} ${version}, measured with \`npm run test:soak -- test/fault/${transport}\`:`,
    markdownTable(HEAD, rows.map(cells)),
  ].join('\n\n')
}

const KAFKA_HEAD = [
  'fault',
  'group',
  'confirmed',
  'unknown',
  'lost',
  'duplicated',
  'out of order',
  'handled again',
  'longest stall: produce',
  'consume',
]

/** What the Kafka client did, without a transport above it. */
export function kafkaFaultSection({ version, rows }: KafkaFaultReport): string {
  const bad = rows.filter(({ lost, duplicated, outOfOrder, untrue }) => lost + duplicated + outOfOrder + untrue > 0)
  if (bad.length > 0) {
    throw new Error(
      `kafka-client: records are missing, doubled or out of order: ${bad.map(({ fault }) => fault).join(', ')}`,
    )
  }
  return [
    `Apache Kafka ${version}, measured with \`npm run test:soak -- test/fault/kafka\`:`,
    markdownTable(KAFKA_HEAD, rows.map(kafkaCells)),
  ].join('\n\n')
}

function kafkaCells(row: KafkaFaultRow): readonly string[] {
  const { fault, group, confirmed, unknown, lost, duplicated, outOfOrder, handledAgain } = row
  const number = (value: number | undefined): string => value?.toLocaleString('en') ?? ''
  const seconds = (ms: number | undefined): string => (ms === undefined ? '' : `${(ms / 1_000).toFixed(1)} s`)
  const counts = [confirmed, unknown, lost, duplicated, outOfOrder, handledAgain].map(number)
  return [fault, group, ...counts, seconds(row.produceStallMs), seconds(row.consumeStallMs)]
}

function cells(row: FaultRow): readonly string[] {
  const { fault, confirmed, unknown, notSent, missing, repeated, explained, outOfOrder, backMs } = row
  const counts = [confirmed, unknown, notSent, missing].map((count) => count.toLocaleString('en'))
  const back = backMs === undefined ? '' : `${(backMs / 1_000).toFixed(2)} s`
  return [fault, ...counts, `${repeated} (at most ${explained})`, String(outOfOrder), back]
}

function main(): void {
  const files = existsSync(FOLDER) ? readdirSync(FOLDER).filter((name) => name.endsWith('.json')) : []
  if (files.length === 0)
    throw new Error('There are no reports in reports/faults: run `npm run test:soak -- test/fault` first')
  let page = readFileSync(PAGE, 'utf8')
  for (const file of files) {
    const report = JSON.parse(readFileSync(join(FOLDER, file), 'utf8')) as FaultReport | KafkaFaultReport
    if (isOfKafkaClient(report)) {
      const kafkaPage = readFileSync(KAFKA_PAGE, 'utf8')
      writeFileSync(KAFKA_PAGE, replaceSection(kafkaPage, 'faults:kafka-client', kafkaFaultSection(report)))
      continue
    }
    // Clusters and other versions of a broker are measured too; the page shows those that it has a place for.
    if (!page.includes(`<!-- faults:${report.transport} begin -->`)) continue
    page = replaceSection(page, `faults:${report.transport}`, faultSection(report))
  }
  writeFileSync(PAGE, page)
  console.log(`the pages now say what ${files.join(', ')} say`)
}

function isOfKafkaClient(report: FaultReport | KafkaFaultReport): report is KafkaFaultReport {
  return report.transport === 'kafka-client'
}

if (import.meta.main) main()
