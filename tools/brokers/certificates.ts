import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { aptInstall } from './apt.ts'
import { BrokerError } from './errors.ts'
import { exec, tail, which } from './exec.ts'
import type { BrokerName, TlsFiles } from './types.ts'

export interface Certificates {
  readonly client: TlsFiles
  readonly server: TlsFiles
  /** The server's key and chain in one PEM file, as Kafka requires. */
  readonly serverPem: string
}

/** An authority, a server certificate for localhost and 127.0.0.1, and a client certificate, for one test. */
export async function createCertificates(broker: BrokerName, dir: string): Promise<Certificates> {
  if (which('openssl') === undefined) await aptInstall(broker, ['openssl'])
  const openssl = which('openssl')
  if (openssl === undefined) throw new BrokerError('missing', broker, 'TLS needs the program openssl')
  const run = async (...args: readonly string[]): Promise<void> => {
    const result = await exec(openssl, args, { cwd: dir })
    if (result.code !== 0) throw new BrokerError('start-failed', broker, `openssl ${args[0]}:\n${tail(result.stderr)}`)
  }
  const key = ['-newkey', 'rsa:2048', '-nodes']
  const caFile = join(dir, 'ca.pem')
  const days = ['-days', '3650']
  await run('req', '-x509', ...key, '-keyout', 'ca.key', '-out', caFile, ...days, '-subj', '/CN=busbar-test-ca')
  const issue = async (name: string, commonName: string, serial: string): Promise<TlsFiles> => {
    const [keyFile, certFile, request] = [join(dir, `${name}.key`), join(dir, `${name}.crt`), join(dir, `${name}.csr`)]
    const extensions = join(dir, `${name}.ext`)
    await writeFile(extensions, 'subjectAltName = DNS:localhost, IP:127.0.0.1\n')
    await run('req', ...key, '-keyout', keyFile, '-out', request, '-subj', `/CN=${commonName}`)
    const signer = ['-CA', caFile, '-CAkey', 'ca.key', '-set_serial', serial]
    await run('x509', '-req', '-in', request, ...signer, ...days, '-extfile', extensions, '-out', certFile)
    return { caFile, certFile, keyFile }
  }
  const [server, client] = await Promise.all([issue('server', 'localhost', '2'), issue('client', 'client', '3')])
  const serverPem = join(dir, 'server.pem')
  const parts = await Promise.all([server.keyFile, server.certFile, caFile].map((file) => readFile(file, 'utf8')))
  await writeFile(serverPem, parts.join(''))
  return { client, server, serverPem }
}
