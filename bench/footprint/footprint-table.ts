import { markdownTable } from '../../tools/markdown.ts'
import type { HandOver } from './hand-over.ts'
import type { Footprint } from './measure-footprint.ts'

const NONE = '–'

/** The columns of groups with several members, in ms. */
const HAND_OVER: Readonly<Record<string, (figures: HandOver) => number | undefined>> = {
  'join ms': ({ joinMs }) => joinMs,
  'first message ms': ({ firstMs }) => firstMs,
  'longest wait ms': ({ joinWaitMs }) => joinWaitMs,
  'leave ms': ({ leaveMs }) => leaveMs,
  'longest wait then ms': ({ leaveWaitMs }) => leaveWaitMs,
}

/**
 * A line for each run; the columns of objects and rates are those of the broker. What starting took from the broker, and what
 * joining and leaving costs, is only shown for groups with several members.
 */
export function footprintTable(rows: readonly Footprint[]): string {
  const [first] = rows
  if (first === undefined) return ''
  const objects = Object.keys(first.objects)
  const rates = Object.keys(first.rates)
  const isShared = rows.some(({ task }) => task.members > 1)
  const started = isShared ? Object.keys(first.started) : []
  const handOver = isShared ? Object.entries(HAND_OVER) : []
  const header = [
    'topics × groups',
    '',
    'start s',
    ...started.map((name) => `${name} to start`),
    ...objects,
    'connections',
    ...rates.map((name) => `${name}/s`),
    'client CPU %',
    'client MB',
    'server CPU %',
    'server MB',
    ...handOver.map(([name]) => name),
  ]
  return markdownTable(
    header,
    rows.map((row) => [
      shapeOf(row),
      row.who === 'busbar' ? '**busbar**' : row.who,
      row.startSeconds.toFixed(1),
      ...started.map((name) => (row.started[name] ?? NaN).toFixed(0)),
      ...objects.map((name) => String(row.objects[name])),
      String(row.connections),
      ...rates.map((name) => (row.rates[name] ?? NaN).toFixed(1)),
      row.clientCpuPercent.toFixed(2),
      row.clientRssMb.toFixed(0),
      row.serverCpuPercent.toFixed(2),
      row.serverRssMb.toFixed(0),
      ...handOver.map(([, read]) => (row.handOver && read(row.handOver))?.toFixed(0) ?? NONE),
    ]),
  )
}

function shapeOf({ task }: Footprint): string {
  const { topics, groups, members, keys, options } = task
  const more = [
    ...(members > 1 ? [`${members} members`] : []),
    ...(keys > 0 ? [`${keys} keys`] : []),
    ...(options === '' ? [] : [options]),
  ]
  return [`${topics} × ${groups}`, ...more].join(', ')
}
