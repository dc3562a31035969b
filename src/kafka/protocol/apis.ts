import type { ApiDescription, VersionRange } from './description.ts'
import { CLUSTER } from './descriptions/cluster.ts'
import { DATA } from './descriptions/data.ts'
import { GROUPS } from './descriptions/groups.ts'
import { QUORUM } from './descriptions/quorum.ts'
import { SECURITY } from './descriptions/security.ts'
import { SHARE } from './descriptions/share.ts'
import { STREAMS } from './descriptions/streams.ts'
import { TOPICS } from './descriptions/topics.ts'
import { TRANSACTIONS } from './descriptions/transactions.ts'
import type { ApiName } from './generated/api-types.ts'
import { layoutOf } from './layout.ts'
import type { Layout } from './layout.ts'
import { parseApis } from './notation.ts'

/** An API and the layouts of its versions, made when they are first needed. */
export class Api {
  readonly description: ApiDescription
  readonly #requests = new Map<number, Layout>()
  readonly #responses = new Map<number, Layout>()

  constructor(description: ApiDescription) {
    this.description = description
  }

  /** The versions that the client speaks; without one that may still change. */
  get versions(): VersionRange {
    const { versions, isLastUnstable } = this.description
    return isLastUnstable ? { first: versions.first, last: versions.last - 1 } : versions
  }

  isFlexible(version: number): boolean {
    return version >= this.description.flexibleFrom
  }

  request(version: number): Layout {
    return cached(this.#requests, version, () => layoutOf(this.description, this.description.request, version))
  }

  response(version: number): Layout {
    return cached(this.#responses, version, () => layoutOf(this.description, this.description.response, version))
  }
}

let apis: ReadonlyMap<ApiName, Api> | undefined

/** All APIs that a client may call. Parsed at the first call: about 5 ms. */
export function allApis(): ReadonlyMap<ApiName, Api> {
  apis ??= new Map(
    [DATA, CLUSTER, GROUPS, TRANSACTIONS, TOPICS, SECURITY, QUORUM, SHARE, STREAMS]
      .flatMap(parseApis)
      .map((description) => [description.name as ApiName, new Api(description)]),
  )
  return apis
}

export function apiOf(name: ApiName): Api {
  const api = allApis().get(name)
  if (api === undefined) throw new Error(`no description of ${name}`)
  return api
}

function cached(layouts: Map<number, Layout>, version: number, make: () => Layout): Layout {
  let layout = layouts.get(version)
  if (layout === undefined) layouts.set(version, (layout = make()))
  return layout
}
