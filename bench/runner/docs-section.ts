import { markdownTable } from '../../tools/markdown.ts'
import type { CaseRecord } from './case-record.ts'
import { extraText, ratioText, valueText, verdictText } from './figures-text.ts'
import { machineText } from './machine.ts'
import type { SuiteRecord } from './suite-record.ts'

function caseSection(record: CaseRecord, command: string): string {
  const subjects = Object.entries(record.details).map(([name, details]) => [
    name === 'busbar' ? '**busbar**' : name,
    valueText(record, details.value),
    `${valueText(record, details.min)} to ${valueText(record, details.max)}`,
    ratioText(record, name),
    details.cpuMicrosPerMessage.toFixed(2),
    details.rssMb.toFixed(0),
    [details.guarantees, extraText(details)].filter((text) => text !== '').join('; '),
  ])
  const header = ['', record.metric, 'min to max', 'ours / theirs', 'CPU µs/msg', 'peak RSS MB', 'notes']
  const goals = record.goals.map(({ goal, actual, met }) => [goal, actual, verdictText(met)])
  const missing = Object.entries(record.missing).map(([name, why]) => `- Not run: ${name}: ${why.split('\n')[0]}`)
  return [
    `### ${record.case}`,
    `${record.title} (\`${command} --case ${record.case}\`)`,
    ...(subjects.length > 0 ? [markdownTable(header, subjects)] : []),
    ...(goals.length > 0 ? [markdownTable(['goal', 'measured', ''], goals)] : []),
    ...(missing.length > 0 ? [missing.join('\n')] : []),
  ].join('\n\n')
}

/** The part of the page between the markers of one suite. */
export function docsSection(record: SuiteRecord): string {
  const peers = Object.entries(record.peers).map(([name, version]) => `${name} ${version}`)
  return [
    `Measured ${record.date} with \`${record.command}\`, Busbar ${record.version}, on ${machineText(record.machine)}.`,
    ...(record.services.length > 0 ? [`Servers: ${record.services.join(', ')}.`] : []),
    ...(peers.length > 0 ? [`Peers: ${peers.join(', ')}.`] : []),
    ...record.cases.map((entry) => caseSection(entry, record.command)),
  ].join('\n\n')
}
