import type { Capabilities } from '../../core/transport.ts'
import type { ScenarioContext } from './context.ts'
import type { BrokerFaults, FaultName, ForeignClient } from './run-means.ts'

/** What a scenario is about. */
export type ScenarioGroup =
  | 'publish'
  | 'transactions'
  | 'settle'
  | 'redelivery'
  | 'groups'
  | 'ordering'
  | 'patterns'
  | 'delay'
  | 'dead-letter'
  | 'replay'
  | 'request'
  | 'back-pressure'
  | 'lifecycle'
  | 'reconnect'
  | 'bad-bytes'
  | 'foreign'
  | 'observability'

/**
 * What a scenario requires. Capabilities of the transport: `groups`, `durable`, `redelivery`, `attempts`, `patterns`,
 * `lag`, `tombstones`, `transactions`, `no-transactions`, `publish-on-ack`, `no-publish-on-ack`, `request-reply`, `dedup`, `no-dedup`, `failed-stops-key`, `delay`, `no-delay`, `ordering` (of any unit),
 * `ordering:key` (across members), `replay:position`, `replay:time`, `admin`, `small-limit` (a message size limit small enough to exceed). Means of the
 * run: `child`, `foreign`, and one for each fault hook.
 */
export type Need =
  | 'groups'
  | 'durable'
  | 'redelivery'
  | 'attempts'
  | 'patterns'
  | 'lag'
  | 'dedup'
  | 'no-dedup'
  | 'tombstones'
  | 'transactions'
  | 'no-transactions'
  | 'publish-on-ack'
  | 'no-publish-on-ack'
  | 'request-reply'
  | 'failed-stops-key'
  | 'delay'
  | 'no-delay'
  | 'ordering'
  | 'ordering:key'
  | 'replay:position'
  | 'replay:time'
  | 'admin'
  | 'small-limit'
  | 'child'
  | 'foreign'
  | `fault:${FaultName}`

/** One promise of the contract, tested on a real transport. Plain data except for `run`, which throws when it is broken. */
export interface Scenario {
  /** `<group>/<name>`; stable: exceptions and reports name it. */
  readonly id: string
  readonly group: ScenarioGroup
  /** Number of the invariant (DESIGN.md, Invariants) that it tests. */
  readonly invariant: number
  /** The promise, in one sentence. */
  readonly title: string
  readonly needs?: readonly Need[] | undefined
  /**
   * True when it mostly waits, for a delay or for the lease of a dead process: such scenarios run side by side, after the others,
   * where the runner can do that. One that disturbs the broker or judges the whole process must not be among them. Default
   * false.
   */
  readonly waits?: boolean | undefined
  /** Rejects when the transport does not keep the promise. */
  readonly run: (ctx: ScenarioContext) => Promise<void>
}

/** A test may need up to twice that much memory. */
const MAX_TRIED_BYTES = 64 * 1_048_576

/** The parts of a run that decide which scenarios apply. */
export interface Means {
  readonly capabilities: Capabilities
  readonly hasAdmin: boolean
  readonly faults: BrokerFaults
  readonly childModule: string | URL | undefined
  readonly foreign: ForeignClient | undefined
}

/** Why a scenario can't run, or undefined when it can. */
export function notApplicable(scenario: Scenario, means: Means): string | undefined {
  const reasons = (scenario.needs ?? []).map((need) => unmet(need, means)).filter((reason) => reason !== undefined)
  return reasons.length === 0 ? undefined : reasons.join('; ')
}

function unmet(need: Need, means: Means): string | undefined {
  const { capabilities } = means
  switch (need) {
    case 'groups':
    case 'durable':
    case 'redelivery':
    case 'attempts':
    case 'patterns':
    case 'lag':
    case 'tombstones':
    case 'transactions':
      return capabilities[need] ? undefined : `the transport has no capability "${need}"`
    case 'no-transactions':
      return capabilities.transactions ? 'the transport has transactions' : undefined
    case 'publish-on-ack':
      return capabilities.publishOnAck ? undefined : 'the transport has no capability "publishOnAck"'
    case 'no-publish-on-ack':
      return capabilities.publishOnAck ? 'the transport publishes with the ack' : undefined
    case 'request-reply':
      return capabilities.requestReply ? undefined : 'the transport has no capability "requestReply"'
    case 'dedup':
      return capabilities.publishDedup ? undefined : 'the transport has no capability "publishDedup"'
    case 'no-dedup':
      return capabilities.publishDedup ? 'the transport publishes an id once' : undefined
    case 'failed-stops-key':
      return capabilities.failedPublishStopsKey ? undefined : 'the transport has no capability "failedPublishStopsKey"'
    case 'delay':
      return capabilities.delay === 'none' ? 'the transport has no capability "delay"' : undefined
    case 'no-delay':
      return capabilities.delay === 'none' ? undefined : 'the transport can delay'
    case 'ordering':
      return capabilities.ordering === 'none' ? 'the transport keeps no order' : undefined
    case 'ordering:key':
      return capabilities.ordering === 'key'
        ? undefined
        : `the transport keeps no order by key across members (ordering is "${capabilities.ordering}")`
    case 'replay:position':
      return capabilities.replay.includes('position') ? undefined : 'the transport has no replay by position'
    case 'replay:time':
      return capabilities.replay.includes('time') ? undefined : 'the transport has no replay by time'
    case 'admin':
      return means.hasAdmin ? undefined : 'the transport has no admin side'
    case 'small-limit':
      return capabilities.maxMessageBytes <= MAX_TRIED_BYTES
        ? undefined
        : `the limit of message size (${capabilities.maxMessageBytes} bytes) is too far away to go beyond it`
    case 'child':
      return means.childModule === undefined
        ? 'no childModule was given to conformance(): other processes can not reach this broker'
        : undefined
    case 'foreign':
      return means.foreign === undefined ? 'no foreign client was given to conformance()' : undefined
    default: {
      const name = need.slice('fault:'.length) as FaultName
      return means.faults[name] === undefined
        ? `there is no broker to do it to, or no hook for it was given to conformance(): faults.${name}`
        : undefined
    }
  }
}
