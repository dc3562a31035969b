import { ConfigurationError } from '../core/errors.ts'
import { closest } from '../core/util/options-reader.ts'
import type { Transport } from '../core/transport.ts'

/** The transport that a URL scheme stands for. */
export interface Scheme {
  /** The transport's name in the docs. */
  readonly name: string
  /** The optional peer dependency that its module imports, if any. */
  readonly peer?: string
  /** Imports the transport's module and creates one. Undefined: the name is reserved; this version has no such transport. */
  readonly create?: (url: string, factories: TransportFactories) => Promise<Transport>
}

/** Creates a broker's transport from a URL: `rabbitmq` of `busbar/rabbitmq`, and so on. */
export type TransportFactory = (options: { readonly url: string }) => Transport

/** Transports that `transportFromUrl` uses instead of loading them. */
export interface TransportFactories {
  readonly rabbitmq?: TransportFactory | undefined
  readonly nats?: TransportFactory | undefined
  readonly redis?: TransportFactory | undefined
  readonly kafka?: TransportFactory | undefined
}

/** Schemes that people write instead of ours. */
const OTHER_NAMES: Readonly<Record<string, string | undefined>> = {
  rabbitmq: 'amqp',
  rabbit: 'amqp',
  jetstream: 'nats',
  file: 'sqlite',
  mem: 'memory',
}

/** Creates the transport of the URL's scheme. Errors never show the URL. */
export async function createFromScheme(
  url: string,
  schemes: Readonly<Record<string, Scheme>>,
  factories: TransportFactories = {},
): Promise<Transport> {
  const there = Object.keys(schemes).filter((name) => schemes[name]?.create !== undefined)
  const supported = there.map((name) => `${name}:`).join(', ')
  if (typeof url !== 'string') throw urlProblem(`must be a string, got ${typeof url}`)
  const match = /^([A-Za-z][A-Za-z0-9+.-]*):/.exec(url)
  if (match === null) throw urlProblem(`must start with a scheme; there are: ${supported}`)
  const name = (match[1] ?? '').toLowerCase()
  const scheme = Object.hasOwn(schemes, name) ? schemes[name] : undefined
  if (scheme === undefined) {
    const guess = OTHER_NAMES[name] ?? closest(name, there)
    const hint = guess === undefined ? '' : `; did you mean "${guess}:"?`
    throw urlProblem(`has the scheme "${name}:", which is none of: ${supported}${hint}`)
  }
  if (scheme.create === undefined)
    throw urlProblem(`names ${scheme.name}, which is not supported in this version; there are: ${supported}`)
  try {
    return await scheme.create(url, factories)
  } catch (error) {
    if (scheme.peer !== undefined && isMissingPackage(error, scheme.peer))
      throw urlProblem(`names ${scheme.name}, which needs a package that is not installed: npm install ${scheme.peer}`)
    if (isMissingPackage(error, 'busbar'))
      throw urlProblem(
        `names ${scheme.name}, which is not part of this bundle: import its function from its own subpath, and pass it ` +
          `to transportFromUrl as in transportFromUrl(url, { redis })`,
      )
    throw error
  }
}

export function urlProblem(message: string): ConfigurationError {
  return new ConfigurationError('transportFromUrl(url)', [{ path: 'url', message }])
}

function isMissingPackage(error: unknown, name: string): boolean {
  if (!(error instanceof Error) || (error as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') return false
  return error.message.includes(`'${name}'`)
}
