import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { BenchCase } from '../suites/suite.ts'
import { summarizeProfile } from './profile-summary.ts'
import type { CpuProfile } from './profile-summary.ts'
import { runSubject } from './run-subject.ts'
import type { RunSubjectOptions } from './run-subject.ts'
import { textTable } from './text-table.ts'

const LINES = 30

/** Runs our side of a case under the CPU profiler. Start and warm-up are in the profile, so a long run tells more. */
export async function profileCase(bench: BenchCase, options: RunSubjectOptions): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'busbar-profile-'))
  try {
    const nodeArgs = ['--cpu-prof', '--cpu-prof-interval=200', `--cpu-prof-dir=${folder}`]
    const output = await runSubject(bench.ours, { ...options, nodeArgs })
    const profiles = readdirSync(folder).map(
      (file) => JSON.parse(readFileSync(join(folder, file), 'utf8')) as CpuProfile,
    )
    return [
      `${bench.name}: ${Math.round(output.messages / output.seconds).toLocaleString('en')} msg/s under the profiler`,
      ...profiles.map((profile, index) => profileText(profile, profiles.length > 1 ? `thread ${index + 1}` : '')),
      '',
    ].join('\n')
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

function profileText(profile: CpuProfile, title: string): string {
  const lines = summarizeProfile(profile).slice(0, LINES)
  const rows = lines.map(({ name, place, selfMicros, share }) => [
    `${(share * 100).toFixed(1)} %`,
    `${(selfMicros / 1000).toFixed(0)} ms`,
    name,
    place,
  ])
  return [
    ...(title === '' ? [] : [title]),
    textTable([['self', 'time', 'function', 'place'], ...rows], new Set([2, 3])),
  ].join('\n')
}
