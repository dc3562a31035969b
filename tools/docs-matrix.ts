// Turns the reports of the conformance suite into the table of docs/reference/transports.md, the results in
// docs/reference/conformance.md, and the first row of each transport's own page:
//
//     npm run test:conformance -- memory sqlite     writes reports/conformance/<transport>.json
//     npm run docs:matrix                           updates the pages from the existing reports
//     npm run docs:matrix -- --check                fails when they are not up to date (for CI)
//
// No cell is typed by hand. docs/reference/conformance.json keeps what was found out about each transport, so a run with two
// brokers updates their columns and leaves the others as the last run found them. A report with failures is refused: make the
// scenario pass, or list it as an exception with its reason.

import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { escapeCell, markdownTable, replaceSection } from './markdown.ts'
import type { Capabilities } from '../src/core/transport.ts'
import type { ConformanceReport, ScenarioStatus } from '../src/testing/conformance/report.ts'

/** What is kept of a report: nothing that changes from run to run. */
export interface TransportSummary {
  readonly transport: string
  readonly version?: string | undefined
  readonly capabilities: Capabilities
  readonly groups: Readonly<Record<string, Readonly<Partial<Record<ScenarioStatus, number>>>>>
  /** Scenarios that did not pass, by outcome and reason. */
  readonly others: readonly { readonly id: string; readonly status: ScenarioStatus; readonly reason: string }[]
}

export function summarize(report: ConformanceReport): TransportSummary {
  const groups: Record<string, Partial<Record<ScenarioStatus, number>>> = {}
  for (const { group, status } of report.scenarios) {
    const counts = (groups[group] ??= {})
    counts[status] = (counts[status] ?? 0) + 1
  }
  const others = report.scenarios
    .filter(({ status }) => status !== 'passed')
    // Only the first line of the reason: a failure may continue with a diff.
    .map(({ id, status, reason }) => ({ id, status, reason: (reason ?? '').split('\n')[0] ?? '' }))
  const { transport, version, capabilities } = report
  return { transport, version, capabilities, groups, others }
}

/** What is known of all transports: a new summary replaces that of an earlier run. */
export function merge(
  known: readonly TransportSummary[],
  summaries: readonly TransportSummary[],
): readonly TransportSummary[] {
  const all = new Map([...known, ...summaries].map((summary) => [summary.transport, summary]))
  return [...all.values()].sort(byRank)
}

/** Transports that need no broker come first, then the others by name. */
const FIRST = ['sqlite', 'memory']

function byRank(a: TransportSummary, b: TransportSummary): number {
  return FIRST.indexOf(b.transport) - FIRST.indexOf(a.transport) || a.transport.localeCompare(b.transport)
}

const CAPABILITIES: readonly (readonly [string, (capabilities: Capabilities) => string])[] = [
  ['Durable', ({ durable }) => yesNo(durable)],
  ['Consumer groups', ({ groups }) => yesNo(groups)],
  ['Order kept across members', ({ ordering }) => ({ none: 'no', topic: 'whole topic', key: 'by key' })[ordering]],
  ['Delayed retry keeps the order of its key', ({ orderedRedelivery }) => yesNo(orderedRedelivery)],
  ['Delayed messages', ({ delay }) => ({ none: 'no', native: 'yes', emulated: 'yes (emulated)' })[delay]],
  ['Redelivery of what was not acked', ({ redelivery }) => yesNo(redelivery)],
  ['Attempts survive the process', ({ attempts }) => yesNo(attempts)],
  ['Wildcards', ({ patterns }) => yesNo(patterns)],
  ['Replay', ({ replay }) => (replay.length === 0 ? 'no' : `by ${replay.join(' and ')}`)],
  ['Lag', ({ lag }) => yesNo(lag)],
  ['Publish deduplicated by id', ({ publishDedup }) => yesNo(publishDedup)],
  ['What a handler publishes is stored with its ack, atomically', ({ publishOnAck }) => yesNo(publishOnAck)],
  ['A failed publish fails the later ones of its key', ({ failedPublishStopsKey }) => yesNo(failedPublishStopsKey)],
  ['Several messages published in one transaction', ({ transactions }) => yesNo(transactions)],
  ['Dead letter and ack in one atomic step', ({ atomicDeadLetters }) => yesNo(atomicDeadLetters)],
  ['A message may have no body (tombstone)', ({ tombstones }) => yesNo(tombstones)],
  ['Native request/reply', ({ requestReply }) => yesNo(requestReply)],
  ['Largest message', ({ maxMessageBytes }) => size(maxMessageBytes)],
]

/** The first thing on a transport's page: the same cells in one row. */
export function capabilityRow({ capabilities }: TransportSummary): string {
  return markdownTable(
    CAPABILITIES.map(([name]) => name),
    [CAPABILITIES.map(([, cell]) => cell(capabilities))],
  )
}

/** A page of one transport, or of several forms of it, with the rows that it has markers for. */
export function updateRows(page: string, summaries: readonly TransportSummary[]): string {
  return summaries
    .filter(({ transport }) => page.includes(`<!-- capabilities:${transport} begin -->`))
    .reduce((text, summary) => replaceSection(text, `capabilities:${summary.transport}`, capabilityRow(summary)), page)
}

/** Another version of a broker, or another form of it: it has a row among the variants, and no column. `nats-core` is a transport. */
const VARIANT = /^(kafka|nats|rabbitmq|redis)-(?!core$)|^valkey$/

const isVariant = ({ transport }: TransportSummary): boolean => VARIANT.test(transport)
const withColumn = (summaries: readonly TransportSummary[]): readonly TransportSummary[] =>
  summaries.filter((summary) => !isVariant(summary))

/** What each transport claims. */
export function capabilityTable(all: readonly TransportSummary[]): string {
  const summaries = withColumn(all)
  return markdownTable(
    ['', ...summaries.map(titleOf)],
    CAPABILITIES.map(([name, cell]) => [name, ...summaries.map(({ capabilities }) => cell(capabilities))]),
  )
}

/** Whole runs on other versions and forms of the brokers: how many scenarios passed, were excepted, do not apply. */
export function variantTable(summaries: readonly TransportSummary[]): string {
  return markdownTable(
    ['', 'version', 'passed', 'excepted', 'not applicable'],
    summaries.filter(isVariant).map(({ transport, version = '', groups }) => {
      const count = (status: ScenarioStatus): string =>
        String(Object.values(groups).reduce((sum, counts) => sum + (counts[status] ?? 0), 0))
      return [transport, version, count('passed'), count('exception'), count('not-applicable')]
    }),
  )
}

/** What was tested on each transport, and why the rest was not. */
export function results(all: readonly TransportSummary[]): string {
  const summaries = withColumn(all)
  const groups = [...new Set(summaries.flatMap((summary) => Object.keys(summary.groups)))]
  const table = markdownTable(
    ['', ...summaries.map(titleOf)],
    groups.map((group) => [group, ...summaries.map((summary) => tally(summary.groups[group]))]),
  )
  return [table, '', ...summaries.flatMap(notes)].join('\n').trimEnd()
}

function titleOf({ transport, version }: TransportSummary): string {
  return version === undefined ? transport : `${transport} ${version}`
}

function tally(counts: TransportSummary['groups'][string] = {}): string {
  const { passed = 0, failed = 0, exception = 0, 'not-applicable': notApplicable = 0 } = counts
  const parts = passed + failed + exception === 0 ? [] : [`${passed} of ${passed + failed + exception}`]
  if (failed > 0) parts.push(`**${failed} failed**`)
  if (exception > 0) parts.push(`${exception} excepted`)
  if (notApplicable > 0) parts.push(`${notApplicable} not applicable`)
  return parts.join(', ') || '-'
}

/** Everything that did not pass, with its reason; scenarios with the same reason on one line. */
function notes({ transport, others }: TransportSummary): string[] {
  if (others.length === 0) return []
  const lines = [`## ${transport}: what did not run or did not pass`, '']
  for (const status of ['failed', 'exception', 'not-applicable'] as const) {
    const byReason = new Map<string, string[]>()
    for (const other of others) {
      if (other.status === status) byReason.set(other.reason, [...(byReason.get(other.reason) ?? []), other.id])
    }
    for (const [reason, ids] of byReason)
      lines.push(`- ${status.replace('-', ' ')}: ${escapeCell(reason)} (${ids.map((id) => `\`${id}\``).join(', ')})`)
  }
  return [...lines, '']
}

function yesNo(value: boolean): string {
  return value ? 'yes' : 'no'
}

function size(bytes: number): string {
  const mebibytes = bytes / 1_048_576
  return mebibytes >= 1 ? `${Number(mebibytes.toFixed(1))} MiB` : `${Number((bytes / 1024).toFixed(1))} KiB`
}

function main(): void {
  const root = dirname(dirname(fileURLToPath(import.meta.url)))
  const folder = join(root, 'reports/conformance')
  const reference = join(root, 'docs/reference')
  const files = existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith('.json')) : []
  if (files.length === 0) {
    console.error('There are no reports in reports/conformance: run `npm run test:conformance` first.')
    process.exitCode = 1
    return
  }
  const summaries = files.map((name) =>
    summarize(JSON.parse(readFileSync(join(folder, name), 'utf8')) as ConformanceReport),
  )
  const failures = summaries.flatMap(({ transport, others }) =>
    others.filter(({ status }) => status === 'failed').map(({ id, reason }) => `  ${transport}: ${id}: ${reason}`),
  )
  if (failures.length > 0) {
    console.error(`These scenarios failed; a page must not be made of them:\n${failures.join('\n')}`)
    process.exitCode = 1
    return
  }
  const data = join(reference, 'conformance.json')
  const all = merge(JSON.parse(readFileSync(data, 'utf8')) as TransportSummary[], summaries)
  const pages = join(reference, 'transports')
  const changes = [
    { path: data, update: () => `${JSON.stringify(all, undefined, 1)}\n` },
    {
      path: join(reference, 'transports.md'),
      update: (text: string) => replaceSection(text, 'capabilities', capabilityTable(all)),
    },
    {
      path: join(reference, 'conformance.md'),
      update: (text: string) =>
        replaceSection(replaceSection(text, 'variants', variantTable(all)), 'results', results(all)),
    },
    ...readdirSync(pages).map((name) => ({
      path: join(pages, name),
      update: (text: string) => updateRows(text, summaries),
    })),
  ].map((page) => ({ ...page, shown: relative(root, page.path), before: readFileSync(page.path, 'utf8') }))
  const stale = changes.filter(({ before, update }) => update(before) !== before)
  if (stale.length === 0) console.log(`The pages are up to date with ${files.join(', ')}`)
  for (const page of stale) {
    if (process.argv.includes('--check')) {
      console.error(`${page.shown} does not say what the reports say: run \`npm run docs:matrix\` and commit the page.`)
      process.exitCode = 1
    } else {
      writeFileSync(page.path, page.update(page.before))
      console.log(`${page.shown} now says what ${files.join(', ')} say`)
    }
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) main()
