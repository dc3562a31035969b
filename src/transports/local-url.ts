import { BAD_PERCENT, setParameter, urlParameter } from '../core/util/url-parameter.ts'
import type { UrlOptions } from '../core/util/url-parameter.ts'
import { urlProblem } from './scheme.ts'

/** A parsed URL without a host. */
export interface LocalUrl {
  /** Decoded; relative or absolute as written. */
  readonly path: string
  /** The parameters as options. */
  readonly options: Readonly<Record<string, string | number | boolean>>
}

/**
 * Parses `sqlite:./a.db?x=1`, where `new URL` would drop the `./`. Three slashes mean an empty host and an absolute path, as in
 * `file:///`. Throws `ConfigurationError`.
 */
export function parseLocalUrl(url: string): LocalUrl {
  const rest = url.slice(url.indexOf(':') + 1)
  const mark = rest.indexOf('?')
  const written = mark < 0 ? rest : rest.slice(0, mark)
  if (written.includes('#')) throw urlProblem('has a "#" in its path: write it as %23')
  if (/^\/\/[^/]/.test(written))
    throw urlProblem('names a host, but sqlite URLs have no host: write two slashes less (./file) or one more (/file)')
  return {
    path: decodePath(written.startsWith('//') ? written.slice(2) : written),
    options: parseOptions(mark < 0 ? '' : rest.slice(mark + 1)),
  }
}

function decodePath(written: string): string {
  try {
    const path = decodeURIComponent(written)
    // sqlite:///C:/data/busbar.db
    return /^\/[A-Za-z]:[\\/]/.test(path) ? path.slice(1) : path
  } catch {
    throw urlProblem(`has a "%" in its path ${BAD_PERCENT}`)
  }
}

function parseOptions(query: string): LocalUrl['options'] {
  // No prototype: a parameter named __proto__ must be refused like any other unknown option.
  const options = Object.create(null) as UrlOptions
  for (const [name, value] of new URLSearchParams(query)) {
    if (Object.hasOwn(options, name)) throw urlProblem(`has the parameter "${name}" twice`)
    setParameter(options, name, urlParameter(value))
  }
  return options as LocalUrl['options']
}
