import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'

/** What Linux knows of a process. */
export interface ProcessFigures {
  /** User and system time, in ms. */
  readonly cpuMs: number
  readonly rssMb: number
  /** Bytes given to write calls since the process started: to files and to sockets. */
  readonly written: number
}

const TICKS_PER_SECOND = Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }))
/** utime and stime, counted from the state, which follows the name in parentheses. */
const UTIME = 11
const STIME = 12

/** Throws where there is no /proc. */
export function processFigures(pid: number): ProcessFigures {
  const read = (file: string): string => readFileSync(`/proc/${pid}/${file}`, 'utf8')
  const stat = read('stat')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return {
    cpuMs: ((Number(fields[UTIME]) + Number(fields[STIME])) * 1_000) / TICKS_PER_SECOND,
    rssMb: numberAfter(read('status'), 'VmRSS:') / 1_024,
    written: numberAfter(read('io'), 'wchar:'),
  }
}

function numberAfter(text: string, label: string): number {
  return Number(text.slice(text.indexOf(label) + label.length).match(/\d+/)?.[0])
}
