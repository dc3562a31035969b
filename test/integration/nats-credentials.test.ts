import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { nkeys } from '@nats-io/transport-node'
import { afterEach, describe, test } from 'vitest'
import { AuthorizationError, ConnectionError, createBus } from 'busbar'
import { uniqueName, waitUntil } from 'busbar/testing'
import { nats } from 'busbar/nats'
import type { NatsOptions } from 'busbar/nats'
import { transportFromUrl } from 'busbar/url'
import { createCertificates } from '../../tools/brokers/certificates.ts'
import { startPrivate } from '../../tools/brokers/index.ts'
import type { NatsBroker } from '../../tools/brokers/index.ts'
import { operatorMode } from './nats-jwt.ts'

/** What a test has started, to be ended in the opposite order. */
const cleanUps: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp()
})

async function broker(config: string): Promise<NatsBroker> {
  const started = await startPrivate('nats', { config })
  cleanUps.push(() => started.stop())
  return started
}

function tempFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'busbar-nats-'))
  cleanUps.push(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/** A message goes through: logged in, and allowed to use JetStream. */
async function works(transport: ReturnType<typeof nats>): Promise<void> {
  const bus = createBus({ service: 'credentials', transport })
  cleanUps.push(() => bus.close({ timeoutMs: 500 }))
  const handled: unknown[] = []
  const topic = uniqueName('logged.in')
  bus.consume(topic, ({ data }) => void handled.push(data))
  await bus.start()
  await bus.publish(topic, 'hello')
  await waitUntil(() => handled.length === 1)
}

async function refused(options: NatsOptions, secrets: readonly string[]): Promise<void> {
  const bus = createBus({ service: 'credentials', transport: nats(options) })
  cleanUps.push(() => bus.close({ timeoutMs: 500 }))
  await assert.rejects(bus.start(), (error: unknown) => {
    assert.ok(AuthorizationError.is(error), String(error))
    const text = `${error.message} ${error.stack} ${String(error.cause)} ${JSON.stringify(error)}`
    for (const secret of secrets) assert.ok(!text.includes(secret), 'a secret reached an error')
    return true
  })
}

const at = ({ host, port }: NatsBroker, login = ''): string => `nats://${login}${host}:${port}`

describe('logging in to NATS', () => {
  test('with user and password: options, URL, or the password beside the URL', async () => {
    const server = await broker('authorization { user: alice, password: "s3cr%t" }')
    await works(nats({ url: at(server), username: 'alice', password: 's3cr%t' }))
    await works(nats({ url: at(server, 'alice:s3cr%25t@') }))
    await works(nats({ url: at(server, 'alice@'), password: 's3cr%t' }))
    await refused({ url: at(server), username: 'alice', password: 'wr0ng' }, ['wr0ng'])
    await refused({ url: at(server, 'alice:wr0ng@') }, ['wr0ng'])
    await refused({ url: at(server) }, [])
  })

  test('with a token: option, or the user of a URL that has no password', async () => {
    const server = await broker('authorization { token: t0ken }')
    await works(nats({ url: at(server), token: 't0ken' }))
    await works(nats({ url: at(server, 't0ken@') }))
    await refused({ url: at(server), token: 'an0ther' }, ['an0ther'])
  })

  test('with an NKey', async () => {
    const [user, stranger] = [nkeys.createUser(), nkeys.createUser()]
    const seedOf = (key: typeof user): string => new TextDecoder().decode(key.getSeed())
    const server = await broker(`authorization { users: [ { nkey: ${user.getPublicKey()} } ] }`)
    await works(nats({ url: at(server), nkeySeed: seedOf(user) }))
    await refused({ url: at(server), nkeySeed: seedOf(stranger) }, [seedOf(stranger)])
  })

  test('with a JWT in operator mode: JWT and seed, credentials as text, and a .creds file', async () => {
    const { config, userJwt, userSeed, credentials } = operatorMode()
    const server = await broker(config)
    await works(nats({ url: at(server), jwt: userJwt, nkeySeed: userSeed }))
    await works(nats({ url: at(server), credentials }))
    const credentialsFile = join(tempFolder(), 'user.creds')
    writeFileSync(credentialsFile, credentials)
    await works(nats({ url: at(server), credentialsFile }))
    await works((await transportFromUrl(`${at(server)}?credentialsFile=${credentialsFile}`)) as ReturnType<typeof nats>)
    await refused({ url: at(server), credentials: operatorMode().credentials }, [])
  })
})

describe('TLS to NATS', () => {
  test(
    'with an authority of ours, and with a client certificate that the server asks for',
    { timeout: 60_000 },
    async () => {
      const { client, server: files } = await createCertificates('nats', tempFolder())
      const { caFile, certFile, keyFile } = client
      const tls = `cert_file: "${files.certFile}", key_file: "${files.keyFile}", ca_file: "${files.caFile}"`
      const open = await broker(`tls { ${tls} }`)
      await works(nats({ url: `tls://${open.host}:${open.port}`, tls: { caFile } }))
      await works(nats({ url: at(open), tls: { rejectUnauthorized: false } }))
      const stranger = createBus({ service: 'tls', transport: nats({ url: `tls://${open.host}:${open.port}` }) })
      cleanUps.push(() => stranger.close({ timeoutMs: 500 }))
      await assert.rejects(stranger.start(), (error: unknown) => ConnectionError.is(error))

      const strict = await broker(`tls { ${tls}, verify: true }`)
      await works(nats({ url: at(strict), tls: { caFile, certFile, keyFile } }))
      await works(
        nats({
          url: `tls://${strict.host}:${strict.port}?tls.caFile=${caFile}&tls.certFile=${certFile}&tls.keyFile=${keyFile}`,
        }),
      )

      const first = await broker(`tls { ${tls}, handshake_first: auto }`)
      await works(nats({ url: at(first), tls: { caFile, handshakeFirst: true } }))
    },
  )
})
