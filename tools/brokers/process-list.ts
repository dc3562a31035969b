import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'

export interface ProcessInfo {
  readonly pid: number
  readonly ppid: number
  readonly pgid: number
  /** Changes when the operating system gives the same pid to another process. */
  readonly startedToken: string
}

/** Living processes (a zombie is not one), all of them or only `pid`. */
export function listProcesses(pid?: number): readonly ProcessInfo[] {
  return process.platform === 'linux' ? fromProc(pid) : fromPs(pid)
}

/** Small images have no `ps`, and reading /proc is also a hundred times quicker. */
function fromProc(pid: number | undefined): readonly ProcessInfo[] {
  const pids = pid === undefined ? readdirSync('/proc').filter((name) => /^\d+$/.test(name)) : [String(pid)]
  return pids.map(readStat).filter((entry) => entry !== undefined)
}

function readStat(pid: string): ProcessInfo | undefined {
  let text: string
  try {
    text = readFileSync(`/proc/${pid}/stat`, 'latin1')
  } catch {
    return undefined
  }
  // The second field is the program's name in brackets and may itself hold spaces and brackets.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  const [state, ppid, pgid] = fields
  if (state === 'Z' || state === 'X') return undefined
  return { pid: Number(pid), ppid: Number(ppid), pgid: Number(pgid), startedToken: fields[19] ?? '' }
}

function fromPs(pid: number | undefined): readonly ProcessInfo[] {
  const filter = pid === undefined ? ['-A'] : ['-p', String(pid)]
  let text: string
  try {
    text = execFileSync('ps', [...filter, '-o', 'pid=,ppid=,pgid=,stat=,lstart='], { encoding: 'utf8' })
  } catch {
    return []
  }
  return text.split('\n').flatMap((line) => {
    const match = /^\s*(\d+)\s+(\d+)\s+(\d+)\s+(\S+)\s+(.+)$/.exec(line)
    if (match === null || match[4]?.startsWith('Z')) return []
    return [
      { pid: Number(match[1]), ppid: Number(match[2]), pgid: Number(match[3]), startedToken: (match[5] ?? '').trim() },
    ]
  })
}
