import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'

export interface ProcessInfo {
  readonly pid: number
  readonly ppid: number
  readonly pgid: number
  /** Changes when the operating system gives the same pid to another process. */
  readonly startedToken: string
}

/** Living processes (zombies don't count), all of them or only `pid`. */
export function listProcesses(pid?: number): readonly ProcessInfo[] {
  return process.platform === 'linux' ? fromProc(pid) : fromPs(pid)
}

/** Small images have no `ps`, and reading /proc is also a hundred times faster. */
function fromProc(pid: number | undefined): readonly ProcessInfo[] {
  const pids = pid === undefined ? readdirSync('/proc').filter((name) => /^\d+$/.test(name)) : [String(pid)]
  return pids.map(readStat).filter((entry) => entry !== undefined)
}

/** True when SIGSTOP has taken effect in every thread; sending it only requests that. */
export function isStopped(pid: number): boolean {
  // A child that has ended stays a zombie (Z) until its parent, stopped too, can reap it.
  if (process.platform === 'linux') return threadStates(pid).every((state) => 'TZX'.includes(state))
  try {
    return /^[TZ]/.test(execFileSync('ps', ['-p', String(pid), '-o', 'stat='], { encoding: 'utf8' }))
  } catch {
    return true
  }
}

function threadStates(pid: number): readonly string[] {
  try {
    const folder = `/proc/${pid}/task`
    return readdirSync(folder).map((thread) => statFields(`${folder}/${thread}/stat`)?.[0] ?? 'T')
  } catch {
    return []
  }
}

function statFields(file: string): readonly string[] | undefined {
  let text: string
  try {
    text = readFileSync(file, 'latin1')
  } catch {
    return undefined
  }
  // The second field is the program's name in brackets, which may itself contain spaces and brackets.
  return text.slice(text.lastIndexOf(')') + 2).split(' ')
}

function readStat(pid: string): ProcessInfo | undefined {
  const fields = statFields(`/proc/${pid}/stat`)
  if (fields === undefined) return undefined
  const [state, ppid, pgid] = fields
  // The first thread is a zombie as soon as it has ended, while the others (field 17 is their number) may still hold
  // sockets.
  if (state === 'X' || (state === 'Z' && Number(fields[17]) <= 1)) return undefined
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
