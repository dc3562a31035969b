import { mkdir, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { debianSid, enterScript } from './debian-sid.ts'
import type { RabbitMqPrograms } from './types.ts'

const SERVERS = 'usr/lib/rabbitmq/lib'

/** RabbitMQ 4 from Debian sid. */
export async function sidRabbitMq(dataDir: string): Promise<RabbitMqPrograms> {
  const root = await debianSid({
    broker: 'rabbitmq',
    what: 'RabbitMQ 4',
    folder: 'rabbitmq-4',
    packages: ['rabbitmq-server'],
    problem: async (draft) => {
      const versions = await serverVersions(draft)
      return versions.some((version) => version.startsWith('4.')) ? undefined : versions.join('\n')
    },
  })
  const folder = join(dataDir, 'programs')
  await mkdir(folder)
  const shim = async (name: string, program: string): Promise<string> => {
    const file = join(folder, name)
    await writeFile(file, enterScript(root, dataDir, program), { mode: 0o755 })
    return file
  }
  return {
    server: await shim('rabbitmq-server', '/usr/lib/rabbitmq/bin/rabbitmq-server'),
    ctl: await shim('rabbitmqctl', '/usr/lib/rabbitmq/bin/rabbitmqctl'),
    epmd: await shim('epmd', '/usr/bin/epmd'),
    version: (await serverVersions(root))[0] ?? '',
  }
}

/** The server's folder name contains its version. */
async function serverVersions(root: string): Promise<readonly string[]> {
  return (await readdir(join(root, SERVERS))).map((name) => name.replace('rabbitmq_server-', ''))
}
