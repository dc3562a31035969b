import { spawnSync } from 'node:child_process'
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

let folder: string

/** A project whose one dependency is a folder of its own, so that npm needs no registry. */
function writeProject(dependencyVersion: string): void {
  const manifest = { name: 'project', version: '1.0.0', dependencies: { part: 'file:part' } }
  const lock = {
    name: 'project',
    version: '1.0.0',
    lockfileVersion: 3,
    requires: true,
    packages: {
      '': manifest,
      part: { version: dependencyVersion },
      'node_modules/part': { resolved: 'part', link: true },
    },
  }
  writeFileSync(join(folder, 'package.json'), JSON.stringify(manifest))
  writeFileSync(join(folder, 'package-lock.json'), JSON.stringify(lock))
  writeFileSync(join(folder, 'part/package.json'), JSON.stringify({ name: 'part', version: dependencyVersion }))
}

function bootstrap(...args: string[]): {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
} {
  const env = { ...process.env }
  // As if it were not npm that runs this test.
  for (const name of Object.keys(env)) if (/^npm_/i.test(name)) delete env[name]
  const script = join(folder, 'tools/bootstrap.mjs')
  return spawnSync(process.execPath, [script, ...args], { cwd: tmpdir(), env, encoding: 'utf8' })
}

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'busbar-bootstrap-test-'))
  mkdirSync(join(folder, 'tools'))
  mkdirSync(join(folder, 'part'))
  copyFileSync(join(import.meta.dirname, '../../tools/bootstrap.mjs'), join(folder, 'tools/bootstrap.mjs'))
})

afterAll(() => {
  rmSync(folder, { recursive: true, force: true })
})

describe('tools/bootstrap.mjs', { timeout: 60_000 }, () => {
  it('installs once, keeps stdout for the command, and is silent when there is nothing to do', () => {
    writeProject('1.0.0')
    const first = bootstrap('node', '-p', '1 + 1')
    expect(first).toMatchObject({ status: 0, stdout: '2\n' })
    expect(first.stderr).toContain('installing the dependencies')

    expect(bootstrap('node', '-p', '1 + 1')).toMatchObject({ status: 0, stdout: '2\n', stderr: '' })
  })

  it('installs again when an install was cut short', () => {
    rmSync(join(folder, 'node_modules/.package-lock.json'))
    expect(bootstrap('node', '-p', '1').stderr).toContain('installing the dependencies')
    expect(bootstrap('node', '-p', '1').stderr).toBe('')
  })

  it('passes arguments on as they are, and the exit code back', () => {
    const printed = bootstrap(
      'node',
      '-p',
      'JSON.stringify(process.argv.slice(1))',
      '--',
      '--json',
      'two words',
      '"$HOME"',
    )
    expect(JSON.parse(printed.stdout)).toEqual(['--json', 'two words', '"$HOME"'])
    expect(bootstrap('node', '-e', 'process.exit(7)').status).toBe(7)
    expect(bootstrap('node', '-e', 'process.kill(process.pid, "SIGKILL")').status).toBe(137)
  })

  it('runs commands of the dependencies and the same Node for them', () => {
    expect(bootstrap('node', '-p', 'process.env.PATH').stdout).toContain(join(folder, 'node_modules', '.bin'))
  })

  it('says what is wrong when npm can not install', () => {
    writeFileSync(
      join(folder, 'package-lock.json'),
      '{"lockfileVersion":3,"packages":{"node_modules/gone":{"version":"1.0.0"}}}',
    )
    const run = bootstrap('node', '-p', '1')
    expect(run).toMatchObject({ status: 1, stdout: '' })
    expect(run.stderr).toMatch(/busbar: the installation failed \(npm ci ended with 1/)
  })

  it('asks for a command', () => {
    expect(bootstrap()).toMatchObject({ status: 1, stdout: '' })
  })
})
