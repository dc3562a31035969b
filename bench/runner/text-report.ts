import type { CaseRecord } from './case-record.ts'
import { extraText, ratioText, valueText, verdictText } from './figures-text.ts'
import { textTable } from './text-table.ts'

const LEFT_COLUMNS: ReadonlySet<number> = new Set([0, 6, 7])

/** What a person reads at the terminal. */
export function textReport(record: CaseRecord): string {
  const header = ['', record.metric, 'min to max', 'ours/theirs', 'CPU µs/msg', 'RSS MB', 'guarantees', '']
  const rows = Object.entries(record.details).map(([name, details]) => [
    name,
    valueText(record, details.value),
    `${valueText(record, details.min)} to ${valueText(record, details.max)}`,
    ratioText(record, name),
    details.cpuMicrosPerMessage.toFixed(2),
    details.rssMb.toFixed(0),
    details.guarantees,
    extraText(details),
  ])
  const goals = record.goals.map(({ goal, actual, met }) => [`  goal: ${goal}`, actual, verdictText(met)])
  const missing = Object.entries(record.missing).map(([name, why]) => `  not run: ${name}: ${why}`)
  return [
    `${record.suite} / ${record.case}: ${record.title}`,
    ...(rows.length > 0 ? [textTable([header, ...rows], LEFT_COLUMNS)] : []),
    ...(goals.length > 0 ? [textTable(goals, new Set([0, 2]))] : []),
    ...missing,
    '',
  ].join('\n')
}
