import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { mkdtemp, readdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { aptInstall } from './apt.ts'
import { BrokerError, howToGet } from './errors.ts'
import { exec, tail, which } from './exec.ts'
import { withLock } from './lock.ts'
import { notice } from './notice.ts'
import { cacheDir } from './paths.ts'

const FILES = join(import.meta.dirname, 'kafka')
const OLDEST_JAVA = 17

export type ApacheLine = '4' | '3.9'

/** The lines of Apache Kafka: the jars of each, and how its logging is set up. */
const LINES: Readonly<Record<ApacheLine, { readonly pom: string; readonly logging: string }>> = {
  '4': { pom: join(FILES, 'pom.xml'), logging: `-Dlog4j2.configurationFile=${join(FILES, 'log4j2.properties')}` },
  '3.9': {
    pom: join(FILES, 'pom-3.9.xml'),
    logging: `-Dlog4j.configuration=${pathToFileURL(join(FILES, 'log4j.properties')).href}`,
  },
}

export interface KafkaInstall {
  readonly java: string
  readonly version: string
  /** Jars, and files derived from them. */
  readonly dir: string
  readonly classpath: string
  /** An argument of Java. */
  readonly logging: string
}

export function kafkaPackages(line: ApacheLine = '4'): readonly string[] {
  const java = javaProgram() === undefined ? ['default-jre-headless'] : []
  const maven = existsSync(join(installDir(line).dir, 'lib')) || which('mvn') !== undefined ? [] : ['maven']
  return [...java, ...maven]
}

/** Java and Kafka's jars; the jars are downloaded from Maven Central once, into the cache. */
export async function kafkaInstall(line: ApacheLine = '4'): Promise<KafkaInstall> {
  const missing = kafkaPackages(line)
  if (missing.length > 0) await aptInstall('kafka', missing)
  const java = javaProgram()
  if (java === undefined) throw new BrokerError('missing', 'kafka', `no java found: ${howToGet('kafka')}`)
  await checkJava(java)
  const { version, dir } = installDir(line)
  const { pom, logging } = LINES[line]
  const lib = join(dir, 'lib')
  if (!existsSync(lib)) await withLock('kafka-jars', () => download(pom, version, lib))
  const jars = (await readdir(lib)).filter((name) => name.endsWith('.jar')).toSorted()
  return { java, version, dir, classpath: jars.map((name) => join(lib, name)).join(':'), logging }
}

function installDir(line: ApacheLine): { readonly version: string; readonly dir: string } {
  const pom = readFileSync(LINES[line].pom, 'utf8')
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

async function download(pom: string, version: string, lib: string): Promise<void> {
  if (existsSync(lib)) return
  const mvn = which('mvn')
  if (mvn === undefined) throw new BrokerError('missing', 'kafka', `no mvn found: ${howToGet('kafka')}`)
  notice(`fetching Apache Kafka ${version} from Maven Central`)
  const draft = await mkdtemp(`${lib}-`)
  try {
    const goal = ['dependency:copy-dependencies', '-DincludeScope=runtime', `-DoutputDirectory=${draft}`]
    const result = await exec(mvn, ['-B', '-q', '-f', pom, ...goal], { timeoutMs: 10 * 60_000 })
    if (result.code !== 0) {
      const output = tail(`${result.stdout}${result.stderr}`, 6)
      throw new BrokerError('install-failed', 'kafka', `fetching its jars failed; ${howToGet('kafka')}\n${output}`)
    }
    await rename(draft, lib)
  } finally {
    await rm(draft, { recursive: true, force: true })
  }
}
