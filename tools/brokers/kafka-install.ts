import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { mkdtemp, readdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { aptInstall } from './apt.ts'
import { BrokerError, howToGet } from './errors.ts'
import { exec, tail, which } from './exec.ts'
import { withLock } from './lock.ts'
import { notice } from './notice.ts'
import { cacheDir } from './paths.ts'

const POM = join(import.meta.dirname, 'kafka', 'pom.xml')
const OLDEST_JAVA = 17

export interface KafkaInstall {
  readonly java: string
  readonly version: string
  /** Jars, and files derived from them. */
  readonly dir: string
  readonly classpath: string
}

export function kafkaPackages(): readonly string[] {
  const java = javaProgram() === undefined ? ['default-jre-headless'] : []
  const maven = existsSync(join(installDir().dir, 'lib')) || which('mvn') !== undefined ? [] : ['maven']
  return [...java, ...maven]
}

/** Java and Kafka's jars; the jars are downloaded from Maven Central once, into the cache. */
export async function kafkaInstall(): Promise<KafkaInstall> {
  const missing = kafkaPackages()
  if (missing.length > 0) await aptInstall('kafka', missing)
  const java = javaProgram()
  if (java === undefined) throw new BrokerError('missing', 'kafka', `no java found: ${howToGet('kafka')}`)
  await checkJava(java)
  const { version, dir } = installDir()
  const lib = join(dir, 'lib')
  if (!existsSync(lib)) await withLock('kafka-jars', () => download(lib))
  const jars = (await readdir(lib)).filter((name) => name.endsWith('.jar')).toSorted()
  return { java, version, dir, classpath: jars.map((name) => join(lib, name)).join(':') }
}

function installDir(): { readonly version: string; readonly dir: string } {
  const pom = readFileSync(POM, 'utf8')
  const version = /<kafka\.version>([^<]+)</.exec(pom)?.[1] ?? 'unknown'
  // A changed pom is another set of jars, even for the same Kafka.
  const digest = createHash('sha256').update(pom).digest('hex').slice(0, 8)
  return { version, dir: cacheDir('kafka', `${version}-${digest}`) }
}

function javaProgram(): string | undefined {
  const home = process.env['JAVA_HOME']
  return which('java', home === undefined ? [] : [join(home, 'bin')])
}

async function checkJava(java: string): Promise<void> {
  const { stderr, stdout } = await exec(java, ['-version'])
  const found = /version "(\d+)/.exec(`${stderr}${stdout}`)?.[1]
  if (found === undefined || Number(found) < OLDEST_JAVA) {
    throw new BrokerError('missing', 'kafka', `${java} is version ${found ?? 'unknown'}: ${howToGet('kafka')}`)
  }
}

async function download(lib: string): Promise<void> {
  if (existsSync(lib)) return
  const mvn = which('mvn')
  if (mvn === undefined) throw new BrokerError('missing', 'kafka', `no mvn found: ${howToGet('kafka')}`)
  notice('fetching Apache Kafka from Maven Central')
  const draft = await mkdtemp(`${lib}-`)
  try {
    const goal = ['dependency:copy-dependencies', '-DincludeScope=runtime', `-DoutputDirectory=${draft}`]
    const result = await exec(mvn, ['-B', '-q', '-f', POM, ...goal], { timeoutMs: 10 * 60_000 })
    if (result.code !== 0) {
      const output = tail(`${result.stdout}${result.stderr}`, 6)
      throw new BrokerError('install-failed', 'kafka', `fetching its jars failed; ${howToGet('kafka')}\n${output}`)
    }
    await rename(draft, lib)
  } finally {
    await rm(draft, { recursive: true, force: true })
  }
}
