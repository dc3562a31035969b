import type { Clock } from '../../../core/clock.ts'
import { StateError } from '../../../core/errors.ts'
import type { DeliverySink, SubscriptionSpec, TransportSubscription } from '../../../core/transport.ts'
import type { LiveConnection } from '../connection/live-connection.ts'
import { toBrokerError } from '../errors.ts'
import type { ResolvedRabbitMqOptions } from '../options.ts'
import type { Reports } from '../reports.ts'
import type { GroupLayout } from '../topology/group-layout.ts'
import { sharedLayout, sharesQueues } from '../topology/topology.ts'
import type { Topology } from '../topology/topology.ts'
import { checkSharedOptions } from './consumer-options.ts'
import type { RabbitMqConsumerOptions } from './consumer-options.ts'
import { SharedGroup } from './shared-group.ts'
import type { RabbitMqSubscription } from './subscription.ts'

interface SharedGroupsHost {
  readonly clock: Clock
  readonly options: ResolvedRabbitMqOptions
  readonly declarations: Topology
  readonly reports: Reports
  /** Declares the queues of a group, and reads them. */
  readonly subscribe: (spec: SubscriptionSpec, shared: SharedGroup) => Promise<RabbitMqSubscription>
  readonly whenUp: () => Promise<LiveConnection>
}

/** The groups of one transport whose topics share their queues: each is there from its first topic to its last. */
export class SharedGroups {
  readonly #host: SharedGroupsHost
  readonly #groups = new Map<string, Promise<SharedGroup>>()
  readonly #closing = new AbortController()

  constructor(host: SharedGroupsHost) {
    this.#host = host
  }

  /**
   * Whether this consumer shares the queues of its group with those of the group's other topics. One that needs no order does where
   * its topic has shared them before, as it uses the queues of an ordered group elsewhere.
   */
  async has(spec: SubscriptionSpec): Promise<boolean> {
    const { declarations, options, whenUp } = this.#host
    const { topic, group, order, native, ephemeral } = spec
    const { queue, offset } = (native ?? {}) as RabbitMqConsumerOptions
    if (ephemeral || queue !== undefined || offset !== undefined) return false
    if (order !== 'none') return sharesQueues(options, spec)
    return sharesQueues(options, { topic, order: 'key' }) && declarations.isSharing(await whenUp(), topic, group)
  }

  async subscribe(spec: SubscriptionSpec, sink: DeliverySink): Promise<TransportSubscription> {
    checkSharedOptions(spec)
    for (;;) {
      this.#checkOpen()
      const group = await (this.#groups.get(spec.group) ?? this.#begin(spec))
      this.#checkOpen()
      // Its last topic may have left meanwhile.
      if (!group.isEnded) return group.add(spec, sink)
    }
  }

  /** A subscribe may have begun before the close: a closed group stays, and would never take its topic. */
  #checkOpen(): void {
    if (this.#closing.signal.aborted) throw new StateError('The RabbitMQ transport is closed')
  }

  /** Ends their timers; the queues are the transport's to close. */
  async close(): Promise<void> {
    this.#closing.abort()
    for (const group of await Promise.allSettled(this.#groups.values()))
      if (group.status === 'fulfilled') group.value.close()
  }

  #begin(first: SubscriptionSpec): Promise<SharedGroup> {
    const { group } = first
    const starting: Promise<SharedGroup> = this.#start(first, () => forget())
    const forget = (): void => {
      if (this.#groups.get(group) === starting) this.#groups.delete(group)
    }
    starting.catch(forget)
    this.#groups.set(group, starting)
    return starting
  }

  async #start(first: SubscriptionSpec, ended: () => void): Promise<SharedGroup> {
    const { clock, declarations, options, reports, subscribe } = this.#host
    const { group } = first
    const shared = new SharedGroup(clock, {
      ...reports.ofSharedGroup(first),
      bind: (topics, partitions, isDeleted) =>
        this.#bind(group, topics, { ...sharedLayout(options), partitions }, isDeleted),
      isOfGroup: (topic) => declarations.isOfGroup(topic, group),
      ended,
    })
    // For what it reports, the topic is the pattern for all of them.
    const spec = { ...first, topic: '>', order: 'key', native: { partitions: options.partitions } } as const
    shared.begin(await subscribe(spec, shared))
    return shared
  }

  async #bind(group: string, topics: readonly string[], layout: GroupLayout, isDeleted: boolean): Promise<number> {
    const { declarations, whenUp } = this.#host
    for (;;) {
      const live = await whenUp()
      try {
        return await declarations.topicsOfGroup(live, group, topics, layout, isDeleted)
      } catch (error) {
        // The connection was lost meanwhile: that does not answer the question.
        if (live.isOpen) throw toBrokerError(error, `Binding the topics of the group "${group}"`)
      }
    }
  }
}
