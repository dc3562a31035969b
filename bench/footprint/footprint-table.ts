import { markdownTable } from '../../tools/markdown.ts'
import type { Footprint } from './measure-footprint.ts'

/** A line for each run; the columns of objects and rates are those of the broker. */
export function footprintTable(rows: readonly Footprint[]): string {
  const [first] = rows
  if (first === undefined) return ''
  const objects = Object.keys(first.objects)
  const rates = Object.keys(first.rates)
  const header = [
    'topics × groups',
    '',
    'start s',
    ...objects,
    'connections',
    ...rates,
    'client CPU %',
    'client MB',
    'server CPU %',
    'server MB',
  ]
  return markdownTable(
    header,
    rows.map((row) => [
      `${row.topics} × ${row.groups}`,
      row.who === 'busbar' ? '**busbar**' : row.who,
      row.startSeconds.toFixed(1),
      ...objects.map((name) => String(row.objects[name])),
      String(row.connections),
      ...rates.map((name) => (row.rates[name] ?? NaN).toFixed(1)),
      row.clientCpuPercent.toFixed(2),
      row.clientRssMb.toFixed(0),
      row.serverCpuPercent.toFixed(2),
      row.serverRssMb.toFixed(0),
    ]),
  )
}
