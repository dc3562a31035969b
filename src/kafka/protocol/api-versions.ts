import { KafkaError } from '../errors.ts'
import { allApis, apiOf } from './apis.ts'
import type { VersionRange } from './description.ts'
import { correlationIdOf, decodeResponse } from './frames.ts'
import { API_KEYS } from './generated/api-types.ts'
import type { ApiName, ApiVersionsResponse } from './generated/api-types.ts'

const UNSUPPORTED_VERSION = 35
const ERROR_CODE_AT = 4

/** What a broker offers. */
export interface BrokerApis {
  readonly versions: ReadonlyMap<ApiName, VersionRange>
  /** Feature levels that the whole cluster has agreed on, as `transaction.version`. */
  readonly features: ReadonlyMap<string, number>
}

export type ApiVersionsAnswer =
  | { readonly type: 'apis'; readonly apis: BrokerApis }
  /** Ask again with this version. */
  | { readonly type: 'retry'; readonly version: number }
  | { readonly type: 'error'; readonly errorCode: number }

/** The version of ApiVersions to ask a broker with first. */
export function firstApiVersionsVersion(): number {
  return apiOf('ApiVersions').versions.last
}

/**
 * Reads the answer to ApiVersions. A broker that is older than the request answers with version 0, whatever was asked for, and
 * names the versions of ApiVersions that it has, or, before Kafka 2.4, none.
 */
export function readApiVersions(version: number, frame: Buffer): ApiVersionsAnswer {
  correlationIdOf(frame)
  const isRefused = frame.length >= ERROR_CODE_AT + 2 && frame.readInt16BE(ERROR_CODE_AT) === UNSUPPORTED_VERSION
  const response = decodeResponse('ApiVersions', isRefused ? 0 : version, frame)
  if (!isRefused) {
    if (response.errorCode !== 0) return { type: 'error', errorCode: response.errorCode }
    return { type: 'apis', apis: brokerApisOf(response) }
  }
  const offered = response.apiKeys.find(({ apiKey }) => apiKey === API_KEYS.ApiVersions)?.maxVersion ?? 0
  // Version 0 is refused by no broker: another answer to it must not make a loop.
  if (version === 0) return { type: 'error', errorCode: UNSUPPORTED_VERSION }
  return { type: 'retry', version: Math.max(0, Math.min(offered, version - 1)) }
}

function brokerApisOf(response: ApiVersionsResponse): BrokerApis {
  const offered = new Map(
    response.apiKeys.map(({ apiKey, minVersion, maxVersion }) => [apiKey, [minVersion, maxVersion]]),
  )
  const versions = new Map<ApiName, VersionRange>()
  for (const name of allApis().keys()) {
    const [first, last] = offered.get(API_KEYS[name]) ?? []
    if (first !== undefined && last !== undefined) versions.set(name, { first, last })
  }
  const features = new Map(response.finalizedFeatures.map(({ name, maxVersionLevel }) => [name, maxVersionLevel]))
  return { versions, features }
}

/** The newest version that both speak, at most `atMost`; undefined if there is none. */
export function commonVersion(apis: BrokerApis, name: ApiName, atMost: number = Infinity): number | undefined {
  const theirs = apis.versions.get(name)
  if (theirs === undefined) return undefined
  const ours = apiOf(name).versions
  const version = Math.min(ours.last, theirs.last, atMost)
  return version < Math.max(ours.first, theirs.first) ? undefined : version
}

/** Like {@link commonVersion}; throws an error that names both ranges. */
export function negotiate(apis: BrokerApis, name: ApiName, atMost?: number): number {
  const version = commonVersion(apis, name, atMost)
  if (version !== undefined) return version
  const theirs = apis.versions.get(name)
  const ours = apiOf(name).versions
  const has = theirs === undefined ? 'does not have it' : `has versions ${theirs.first} to ${theirs.last}`
  throw new KafkaError(
    `${name} can't be asked of this broker: it ${has}, this client has ${ours.first} to ${Math.min(ours.last, atMost ?? Infinity)}`,
    { code: 'UNSUPPORTED_API', action: 'fatal', outcome: 'not-sent' },
  )
}
