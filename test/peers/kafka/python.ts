import { existsSync, readFileSync } from 'node:fs'
import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { aptInstall } from '../../../tools/brokers/apt.ts'
import { BrokerError } from '../../../tools/brokers/errors.ts'
import { exec, tail, which } from '../../../tools/brokers/exec.ts'
import { withLock } from '../../../tools/brokers/lock.ts'
import { notice } from '../../../tools/brokers/notice.ts'
import { cacheDir } from '../../../tools/brokers/paths.ts'

/** A Python with the packages of a requirements file, which is one line. It stays in the cache. */
export async function pythonWithPackages(requirements: string): Promise<string> {
  const packages = readFileSync(requirements, 'utf8').trim()
  const dir = join(cacheDir('python'), packages.replaceAll('==', '-'))
  const python = join(dir, 'bin', 'python')
  const record = join(dir, 'installed')
  if (existsSync(record)) return python
  return withLock('python', async () => {
    if (existsSync(record)) return python
    notice(`installing ${packages} for Python`)
    await rm(dir, { recursive: true, force: true })
    if (!(await makesEnvironments())) await aptInstall('kafka', ['python3-venv'])
    await run('python3', '-m', 'venv', dir)
    await run(python, '-m', 'pip', 'install', '--quiet', '--only-binary', ':all:', '--requirement', requirements)
    await writeFile(record, packages)
    return python
  })
}

async function makesEnvironments(): Promise<boolean> {
  return which('python3') !== undefined && (await exec('python3', ['-c', 'import ensurepip, venv'])).code === 0
}

async function run(file: string, ...args: readonly string[]): Promise<void> {
  const { code, stdout, stderr } = await exec(file, args, { timeoutMs: 5 * 60_000 })
  if (code === 0) return
  throw new BrokerError('install-failed', 'kafka', `${file} ${args.join(' ')}:\n${tail(stdout + stderr)}`)
}
