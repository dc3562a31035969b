/** The part of a `.cpuprofile` that we read. */
export interface CpuProfile {
  readonly nodes: readonly {
    readonly id: number
    readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number }
  }[]
  readonly samples?: readonly number[]
  readonly timeDeltas?: readonly number[]
}

export interface ProfileLine {
  readonly name: string
  readonly place: string
  readonly selfMicros: number
  /** Of the busy time: idle samples are left out. */
  readonly share: number
}

function placeOf(url: string, line: number): string {
  if (url === '') return 'V8'
  const short = url.replace(/^file:\/\/.*?\/(dist|src|bench)\//, '$1/')
  return `${short}:${line + 1}`
}

/** Self time by function, most first. */
export function summarizeProfile(profile: CpuProfile): readonly ProfileLine[] {
  const selfOf = new Map<number, number>()
  const deltas = profile.timeDeltas ?? []
  for (const [index, id] of (profile.samples ?? []).entries())
    selfOf.set(id, (selfOf.get(id) ?? 0) + (deltas[index] ?? 0))
  const byFunction = new Map<string, { name: string; place: string; selfMicros: number }>()
  let busy = 0
  for (const { id, callFrame } of profile.nodes) {
    const selfMicros = selfOf.get(id) ?? 0
    if (callFrame.functionName === '(idle)' || selfMicros === 0) continue
    busy += selfMicros
    const name = callFrame.functionName === '' ? '(anonymous)' : callFrame.functionName
    const place = placeOf(callFrame.url, callFrame.lineNumber)
    const line = byFunction.get(`${name} ${place}`) ?? { name, place, selfMicros: 0 }
    line.selfMicros += selfMicros
    byFunction.set(`${name} ${place}`, line)
  }
  return [...byFunction.values()]
    .map((line) => ({ ...line, share: line.selfMicros / busy }))
    .toSorted((a, b) => b.selfMicros - a.selfMicros)
}
