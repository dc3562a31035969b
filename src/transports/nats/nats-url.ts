import type { OptionsReader } from '../../core/options.ts'

export interface NatsUrl {
  /** `host:port`, as the client library wants them: what may be secret is taken out. */
  readonly servers: readonly string[]
  readonly tls: boolean
  readonly user: string | undefined
  readonly password: string | undefined
  /** A user without a password is a token, as in every NATS client. */
  readonly token: string | undefined
}

/** Reads the option `url`. Problems name no URL: it may hold a password. */
export function parseNatsUrls(reader: OptionsReader, fallback: string): NatsUrl {
  const given = reader.raw('url') ?? fallback
  const list = Array.isArray(given) ? (given as unknown[]) : [given]
  const servers: string[] = []
  let tls = false
  let login: { user: string; password: string } | undefined
  for (const entry of list) {
    if (typeof entry !== 'string' || entry === '') {
      reader.problem('url', 'must be a URL such as "nats://127.0.0.1:4222", or an array of them')
      continue
    }
    const scheme = /^[a-z]+:\/\//i.exec(entry)?.[0] ?? 'nats://'
    for (const part of entry.split(',')) {
      const parsed = parseOne(part.trim(), scheme)
      if (parsed === undefined) {
        reader.problem('url', 'must be like "nats://host:4222", "tls://host:4222" or "nats://a:4222,b:4222"')
        continue
      }
      if (parsed.protocol === 'tls:') tls = true
      servers.push(`${parsed.hostname}:${parsed.port === '' ? '4222' : parsed.port}`)
      if (parsed.username !== '')
        login ??= { user: decodeURIComponent(parsed.username), password: decodeURIComponent(parsed.password) }
    }
  }
  const isToken = login !== undefined && login.password === ''
  return {
    servers,
    tls,
    user: isToken ? undefined : login?.user,
    password: isToken ? undefined : login?.password,
    token: isToken ? login?.user : undefined,
  }
}

function parseOne(text: string, scheme: string): URL | undefined {
  const withScheme = text.includes('://') ? text : scheme + text
  if (!URL.canParse(withScheme)) return undefined
  const url = new URL(withScheme)
  const plain = (url.pathname === '' || url.pathname === '/') && url.search === '' && url.hash === ''
  return (url.protocol === 'nats:' || url.protocol === 'tls:') && url.hostname !== '' && plain ? url : undefined
}
