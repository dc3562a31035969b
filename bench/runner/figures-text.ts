import type { CaseRecord, SubjectRecord } from './case-record.ts'

/** `512,340`, `1.24 ms` or `0.31 %`. */
export function valueText(record: CaseRecord, value: number): string {
  if (record.metric === 'p99 ms') return `${value.toFixed(2)} ms`
  if (record.metric === 'CPU %') return `${value.toFixed(2)} %`
  return Math.round(value).toLocaleString('en')
}

/** Ours by theirs. For a latency less is better, which the sign of the column says. */
export function ratioText(record: CaseRecord, name: string): string {
  const theirs = record.details[name]
  if (record.ours === null || theirs === undefined || name === 'busbar') return ''
  return `${(record.ours / theirs.value).toFixed(2)}×`
}

export function extraText(details: SubjectRecord): string {
  return Object.entries(details.extra)
    .map(([name, value]) => {
      const unit = name.endsWith('Ms') ? ' ms' : name.endsWith('Mb') ? ' MB' : ''
      const label = unit === '' ? name : name.slice(0, -2)
      return `${label} ${typeof value === 'number' ? Number(value.toFixed(2)).toLocaleString('en') : value}${unit}`
    })
    .join(', ')
}

export function verdictText(met: boolean | null): string {
  if (met === null) return 'not measured'
  return met ? 'pass' : 'MISS'
}
