import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Blueprint, ProcessPlan } from './blueprint.ts'
import { createCertificates } from './certificates.ts'
import { formatLogDir, kafkaId } from './kafka-format.ts'
import { kafkaInstall } from './kafka-install.ts'
import type { KafkaInstall } from './kafka-install.ts'
import { kafkaProperties, kafkaUsers } from './kafka-properties.ts'
import type { KafkaNodePorts, KafkaServer } from './kafka-properties.ts'
import { kfakeBlueprint } from './kfake.ts'
import { LOCAL } from './local-blueprint.ts'
import { freePort } from './ports.ts'
import type { KafkaOptions } from './types.ts'

export async function kafkaBlueprint(dataDir: string, port: number, options: KafkaOptions): Promise<Blueprint> {
  const { version = '4' } = options
  if (version === 'kfake') return kfakeBlueprint(dataDir, port, options)
  const install = await kafkaInstall(version)
  const count = options.nodes ?? 1
  const nodes: KafkaNodePorts[] = []
  for (let id = 1; id <= count; id++) nodes.push(await nodePorts(id, id === 1 ? port : await freePort()))
  const security = await securityOf(dataDir, options)
  const users = security === undefined ? [] : kafkaUsers(security.options)
  const clusterId = kafkaId()
  const heap = options.heapMb ?? (count === 1 ? 512 : 384)
  const processes = await Promise.all(
    nodes.map(async (node): Promise<ProcessPlan> => {
      const dir = join(dataDir, `node-${node.id}`)
      await mkdir(dir)
      const logDir = join(dir, 'log')
      await formatLogDir(install, logDir, clusterId, node.id, users)
      const config = join(dir, 'server.properties')
      await writeFile(
        config,
        kafkaProperties({ node, nodes, logDir, security, line: version, overrides: options.properties ?? {} }),
      )
      return nodeProcess(install, node, dir, config, heap)
    }),
  )
  const { host } = LOCAL
  const first = nodes[0]
  return {
    ...LOCAL,
    name: 'kafka',
    version: install.version,
    url: `kafka://${nodes.map((node) => `${host}:${node.plaintext}`).join(',')}`,
    port,
    dataDir,
    readyTimeoutMs: 120_000,
    processes,
    details: {
      java: install.java,
      classpath: install.classpath,
      ...(security === undefined || first === undefined
        ? {}
        : {
            saslPlaintext: `${host}:${first.saslPlaintext}`,
            saslSsl: `${host}:${first.saslSsl}`,
            ssl: `${host}:${first.ssl}`,
            caFile: security.tls.caFile,
            certFile: security.tls.certFile,
            keyFile: security.tls.keyFile,
          }),
    },
  }
}

async function nodePorts(id: number, plaintext: number): Promise<KafkaNodePorts> {
  return {
    id,
    plaintext,
    controller: await freePort(),
    saslPlaintext: await freePort(),
    saslSsl: await freePort(),
    ssl: await freePort(),
  }
}

async function securityOf(dataDir: string, { secure }: KafkaOptions): Promise<KafkaServer['security']> {
  if (secure === undefined || secure === false) return undefined
  const dir = join(dataDir, 'tls')
  await mkdir(dir)
  const { client, serverPem } = await createCertificates('kafka', dir)
  return { options: secure === true ? {} : secure, tls: client, keyStore: serverPem }
}

function nodeProcess(
  install: KafkaInstall,
  node: KafkaNodePorts,
  dir: string,
  config: string,
  heap: number,
): ProcessPlan {
  const memory = [`-Xms${Math.min(256, heap)}m`, `-Xmx${heap}m`, '-XX:+UseG1GC']
  const settings = [install.logging, '-Djava.net.preferIPv4Stack=true']
  return {
    id: node.id,
    port: node.plaintext,
    stopSignal: 'SIGTERM',
    command: {
      file: install.java,
      args: [...memory, ...settings, '-cp', install.classpath, 'kafka.Kafka', config],
      env: { PATH: process.env['PATH'] ?? '', LANG: 'C.UTF-8' },
      cwd: dir,
      logFile: join(dir, 'kafka.log'),
    },
  }
}
