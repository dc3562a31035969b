import { createHash, createHmac, pbkdf2, randomBytes, timingSafeEqual } from 'node:crypto'
import { promisify } from 'node:util'
import { KafkaError } from '../../errors.ts'
import type { Credentials, SaslExchange } from './sasl-exchange.ts'

const GS2_HEADER = 'n,,'
/** RFC 7677; fewer would make a stolen exchange easy to crack. */
const MIN_ITERATIONS = 4_096
/** A server must not keep this process busy. */
const MAX_ITERATIONS = 10_000_000

const deriveKey = promisify(pbkdf2)

/** RFC 5802 and 7677: both sides prove that they know the password, which never is on the wire. */
export function scram(
  hash: 'sha256' | 'sha512',
  { username, password }: Credentials,
  isDelegationToken = false,
  nonce: string = randomBytes(24).toString('base64url'),
): SaslExchange {
  const name = username.replaceAll('=', '=3D').replaceAll(',', '=2C')
  const clientFirst = `n=${name},r=${nonce}${isDelegationToken ? ',tokenauth=true' : ''}`
  let serverSignature: Buffer | undefined
  const hmac = (key: Buffer, text: string) => createHmac(hash, key).update(text).digest()

  async function clientFinal(challenge: Buffer): Promise<Buffer> {
    const serverFirst = challenge.toString()
    const given = attributesOf(serverFirst)
    const serverNonce = given.get('r') ?? ''
    const salt = Buffer.from(given.get('s') ?? '', 'base64')
    const iterations = Number(given.get('i'))
    if (!serverNonce.startsWith(nonce) || serverNonce.length === nonce.length) throw refused('its nonce is not ours')
    if (salt.length === 0) throw refused('it gave no salt')
    if (!(iterations >= MIN_ITERATIONS && iterations <= MAX_ITERATIONS)) throw refused(`${given.get('i')} iterations`)
    const salted = await deriveKey(password, salt, iterations, hash === 'sha256' ? 32 : 64, hash)
    const withoutProof = `c=${Buffer.from(GS2_HEADER).toString('base64')},r=${serverNonce}`
    const authMessage = `${clientFirst},${serverFirst},${withoutProof}`
    const clientKey = hmac(salted, 'Client Key')
    const signature = hmac(createHash(hash).update(clientKey).digest(), authMessage)
    const proof = Buffer.from(clientKey.map((byte, index) => byte ^ (signature[index] as number)))
    serverSignature = hmac(hmac(salted, 'Server Key'), authMessage)
    return Buffer.from(`${withoutProof},p=${proof.toString('base64')}`)
  }

  function checkServer(challenge: Buffer, expected: Buffer): void {
    const given = attributesOf(challenge.toString())
    if (given.has('e')) throw refused(`it said ${given.get('e')}`)
    const proof = Buffer.from(given.get('v') ?? '', 'base64')
    if (proof.length === expected.length && timingSafeEqual(proof, expected)) return
    throw refused('it does not know the password')
  }

  return {
    next: (challenge) => {
      if (challenge === undefined) return Buffer.from(`${GS2_HEADER}${clientFirst}`)
      if (serverSignature === undefined) return clientFinal(challenge)
      checkServer(challenge, serverSignature)
      return undefined
    },
  }
}

function attributesOf(message: string): ReadonlyMap<string, string> {
  return new Map(message.split(',').map((part) => [part.slice(0, 1), part.slice(2)]))
}

function refused(why: string): KafkaError {
  return new KafkaError(`SCRAM: the server can't be trusted: ${why}`, {
    code: 'SASL_SERVER_REFUSED',
    action: 'fatal',
    outcome: 'not-sent',
  })
}
