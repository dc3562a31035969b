import { createHash, randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { copyFile, mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { BrokerError } from './errors.ts'
import { exec, tail } from './exec.ts'
import type { KafkaInstall } from './kafka-install.ts'
import { withLock } from './lock.ts'
import type { KafkaUser } from './types.ts'

const CHECKPOINT = 'bootstrap.checkpoint'

export function kafkaId(): string {
  // Kafka's own generator also refuses ids that would look like an option.
  for (;;) {
    const id = randomBytes(16).toString('base64url')
    if (!id.startsWith('-')) return id
  }
}

/**
 * A formatted log folder. What Kafka's storage tool writes depends only on version and SCRAM users, except for the ids;
 * so the tool runs once, and later nodes copy its result: that saves a JVM start for each node of each test.
 */
export async function formatLogDir(
  install: KafkaInstall,
  target: string,
  clusterId: string,
  nodeId: number,
  users: readonly KafkaUser[],
): Promise<void> {
  const template = await formatted(install, users)
  await mkdir(target, { recursive: true })
  await copyFile(join(template, CHECKPOINT), join(target, CHECKPOINT))
  const meta = [`version=1`, `cluster.id=${clusterId}`, `node.id=${nodeId}`, `directory.id=${kafkaId()}`, '']
  await writeFile(join(target, 'meta.properties'), meta.join('\n'))
}

async function formatted(install: KafkaInstall, users: readonly KafkaUser[]): Promise<string> {
  const digest = createHash('sha256').update(JSON.stringify(users)).digest('hex').slice(0, 12)
  const dir = join(install.dir, `formatted-${digest}`)
  if (existsSync(dir)) return dir
  return withLock('kafka-format', async () => {
    if (!existsSync(dir)) await runStorageTool(install, dir, users)
    return dir
  })
}

async function runStorageTool(install: KafkaInstall, dir: string, users: readonly KafkaUser[]): Promise<void> {
  const draft = await mkdtemp(`${dir}-`)
  try {
    const config = join(draft, 'server.properties')
    const logDir = join(draft, 'log')
    const lines = [
      'process.roles=broker,controller',
      'node.id=1',
      'controller.quorum.voters=1@127.0.0.1:9093',
      'controller.listener.names=CONTROLLER',
      'listeners=PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093',
      `log.dirs=${logDir}`,
    ]
    await writeFile(config, lines.join('\n'))
    const scram = users.flatMap(({ name, password }) =>
      ['SCRAM-SHA-256', 'SCRAM-SHA-512'].flatMap((kind) => [
        '--add-scram',
        `${kind}=[name=${name},password=${password}]`,
      ]),
    )
    const tool = [
      '-cp',
      install.classpath,
      'kafka.tools.StorageTool',
      'format',
      '-t',
      kafkaId(),
      '-c',
      config,
      ...scram,
    ]
    const result = await exec(install.java, ['-XX:TieredStopAtLevel=1', ...tool])
    if (result.code !== 0) {
      throw new BrokerError('start-failed', 'kafka', `formatting failed:\n${tail(result.stdout + result.stderr)}`)
    }
    await rename(logDir, dir)
  } finally {
    await rm(draft, { recursive: true, force: true })
  }
}
