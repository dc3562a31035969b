import { nkeys } from '@nats-io/transport-node'

// JWTs of operator, account and user, made by hand as `nsc` makes them: for servers in operator mode.

type KeyPair = ReturnType<typeof nkeys.createUser>

function encode(part: object): string {
  return Buffer.from(JSON.stringify(part)).toString('base64url')
}

function jwt(issuer: KeyPair, subject: KeyPair, name: string, claims: object): string {
  const [iss, sub] = [issuer.getPublicKey(), subject.getPublicKey()]
  const head = encode({ typ: 'JWT', alg: 'ed25519-nkey' })
  const body = encode({ jti: name, iat: Math.floor(Date.now() / 1_000), iss, sub, name, nats: claims })
  const signed = `${head}.${body}`
  return `${signed}.${Buffer.from(issuer.sign(Buffer.from(signed))).toString('base64url')}`
}

const UNLIMITED = { subs: -1, data: -1, payload: -1, imports: -1, exports: -1, wildcards: true, conn: -1, leaf: -1 }
const STORAGE = { mem_storage: -1, disk_storage: -1, streams: -1, consumer: -1 }

export interface OperatorMode {
  /** For the server's configuration. */
  readonly config: string
  readonly userJwt: string
  readonly userSeed: string
  /** Text of a `.creds` file. */
  readonly credentials: string
}

/** An operator with one account and one user in it, and the server configuration that knows them. */
export function operatorMode(): OperatorMode {
  const [operator, system, account] = [nkeys.createOperator(), nkeys.createAccount(), nkeys.createAccount()]
  const user = nkeys.createUser()
  const operatorJwt = jwt(operator, operator, 'operator', {
    type: 'operator',
    version: 2,
    system_account: system.getPublicKey(),
  })
  const systemJwt = jwt(operator, system, 'SYS', { type: 'account', version: 2, limits: UNLIMITED })
  const limits = { ...UNLIMITED, ...STORAGE }
  const accountJwt = jwt(operator, account, 'APP', { type: 'account', version: 2, limits })
  const userJwt = jwt(account, user, 'user', { type: 'user', version: 2, subs: -1, data: -1, payload: -1 })
  const userSeed = new TextDecoder().decode(user.getSeed())
  return {
    config: [
      `operator: ${operatorJwt}`,
      `system_account: ${system.getPublicKey()}`,
      'resolver: MEMORY',
      `resolver_preload: { ${system.getPublicKey()}: ${systemJwt}, ${account.getPublicKey()}: ${accountJwt} }`,
    ].join('\n'),
    userJwt,
    userSeed,
    credentials: [
      '-----BEGIN NATS USER JWT-----',
      userJwt,
      '------END NATS USER JWT------',
      '',
      '-----BEGIN USER NKEY SEED-----',
      userSeed,
      '------END USER NKEY SEED------',
      '',
    ].join('\n'),
  }
}
