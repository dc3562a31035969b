// Longer than most files: what one connection has declared is known here, and each declaration depends on what others have found.
import { sleep } from '../../../core/clock.ts'
import type { Clock } from '../../../core/clock.ts'
import { ConfigurationError, TimeoutError } from '../../../core/errors.ts'
import type { OutgoingMessage } from '../../../core/message.ts'
import { isPattern } from '../../../core/topic.ts'
import { settledWithin } from '../../../core/util/settled-within.ts'
import type { GroupDeclaration, Purpose, ResolvedRabbitMqOptions } from '../options.ts'
import { hasQuorumQueues, serverInfo } from '../connection/amqp.ts'
import type { Router } from '../publish/router.ts'
import type { Connector } from '../connection/connector.ts'
import { DeclareChannel, declareQueue } from './declare-channel.ts'
import type { Drift } from './declare-channel.ts'
import { declareLadder } from '../delays/delay-ladder.ts'
import { declareDelayExchange, hasDelayPlugin } from '../delays/delay-plugin.ts'
import { REPLY, replyCode } from '../errors.ts'
import { declareExchanges, declareQueuesExchange, declareTopology } from './exchanges.ts'
import type { GroupQueues } from './group-queues.ts'
import { nameOfGroup, queuesOf } from './group-layout.ts'
import type { GroupLayout } from './group-layout.ts'
import type { GroupRegistry } from './group-registry.ts'
import {
  bindGroup,
  bindTopics,
  checkGroup,
  countQueues,
  declareGroup,
  declareStorage,
  notesArguments,
  storageArguments,
} from './group-topology.ts'
import type { DeclaredGroup, GroupSpec, QueueArguments, QueueType } from './group-topology.ts'
import type { KnownGroups } from './known-groups.ts'
import type { LiveConnection } from '../connection/live-connection.ts'
import { ALL_TOPICS } from './names.ts'
import type { Names } from './names.ts'
import { isNodeAway } from './places.ts'
import type { Prerequisites } from '../publish/preparation.ts'

/**
 * RabbitMQ persists a quorum queue only a moment after confirming its declaration: with the second tick of 500 ms, if no
 * other queue is created between the two (`ra_directory`: a dets table with `auto_save`). If its node is killed before,
 * the queue comes back without its messages and without a leader. All delays pass through the same queues, so nothing is
 * sent to one before that.
 */
const YOUNG_MS = 1_500
const MAX_REPORTED = 10_000
/** To declare again what all groups share. */
const SHARED_REQUESTS = 9
const REQUESTS_PER_RUNG = 4
/** A list of groups that was read so long ago is as good as a new one, for the start of many consumers. */
const LISTED_MS = 5_000
const REGISTER_MS = 5_000
const REGISTER_AGAIN_MS = 1_000

export interface TopologyParts {
  readonly options: ResolvedRabbitMqOptions
  readonly names: Names
  readonly clock: Clock
  readonly connector: Connector
  readonly router: Router
  readonly groups: KnownGroups
  readonly queues: GroupQueues
  readonly registry: GroupRegistry
  /** Notes a new group there. */
  readonly register: (topic: string, group: string, layout: GroupLayout) => Promise<void>
  readonly onDrift: (drift: Drift) => void
  /** The queue of a dead-letter topic was deleted. */
  readonly onStorageLost: (topic: string, queue: string) => void
  /** A shared object was deleted, and has been declared again without its bindings. */
  readonly onGone: () => void
  /** Queues of the bus itself were missing, and have been declared. */
  readonly onSharedLost: (queues: readonly string[]) => void
  /** Queues of an existing group were missing, and have been declared. */
  readonly onRestored: (topic: string, group: string, queues: readonly string[]) => void
  readonly closing: AbortSignal
}

/** What one connection has declared. Valid only for that connection, since a broker may come back empty. */
class Known {
  readonly declaring: DeclareChannel
  /** Topics that share the queues of their groups, as `<topic>:<group>`: those that are in the list of groups. */
  listed: Promise<Set<string>> | undefined
  /** When it was read, in monotonic ms. */
  listedAt = -Infinity
  /** By group: refuses it if all of its topics share its queues. */
  readonly perTopic = new Map<string, Promise<void>>()
  readonly storages = new Map<string, Promise<void> | 'there'>()
  /** Dead-letter topics whose queue no longer takes messages; true when it was found to be missing. */
  readonly gone: Map<string, boolean>
  /** Queues that copies can be sent to. */
  readonly ways = new Map<string, Promise<void> | 'there'>()
  rungs = 0
  delay: Promise<void> | undefined

  constructor(declaring: DeclareChannel, gone = new Map<string, boolean>()) {
    this.declaring = declaring
    this.gone = gone
  }
}

/** Whether the topic of such a new group shares the queues of the group with its other topics. */
export function sharesQueues(
  { queues }: Pick<ResolvedRabbitMqOptions, 'queues'>,
  { topic, order }: { readonly topic: string; readonly order: GroupLayout['order'] },
): boolean {
  return queues === 'per-group' && order === 'key' && !isPattern(topic)
}

export function sharedLayout({ partitions }: Pick<ResolvedRabbitMqOptions, 'partitions'>): GroupLayout {
  return { order: 'key', partitions, perGroup: true }
}

/** Everything that the transport declares on the broker: once for each connection, when first needed. */
export class Topology implements Prerequisites {
  readonly #parts: TopologyParts
  readonly #known = new WeakMap<LiveConnection, Known>()
  /** Connections on which everything is being declared again. */
  readonly #restoring = new WeakMap<LiveConnection, Promise<void>>()
  #queueType: QueueType | undefined
  #plugin: boolean | undefined
  /** Number of rungs that this process uses. */
  #rungs = 0
  readonly #reported = new Set<string>()
  /** As `<topic>:<group>`: all topics that were in the list of groups as sharing queues, or were led to them here. */
  readonly #sharing = new Set<string>()

  constructor(parts: TopologyParts) {
    this.#parts = parts
  }

  /** Known after the first connect. */
  get queueType(): QueueType {
    return this.#queueType ?? 'quorum'
  }

  get #storageArguments(): QueueArguments {
    return storageArguments(this.queueType, this.#parts.options.quorumArguments)
  }

  /** Must be called on each new connection before it is used. */
  async restore(live: LiveConnection, purpose: Purpose): Promise<void> {
    const { options, names } = this.#parts
    const { queueType, afterConnect } = options
    this.#queueType =
      queueType === 'auto' ? (hasQuorumQueues(serverInfo(live.model)) ? 'quorum' : 'classic') : queueType
    const { declaring } = this.#of(live)
    if (afterConnect !== undefined) await declaring.run(async (channel) => afterConnect(channel, purpose))
    if (!options.declare) return
    this.#report(await declareExchanges(declaring, names, this.#storageArguments))
    await declareTopology(declaring, options.topology)
  }

  /** Each lane that misses an exchange asks for it. */
  again(live: LiveConnection): Promise<void> {
    let restoring = this.#restoring.get(live)
    if (restoring === undefined) {
      restoring = this.#restoreAll(live).finally(() => this.#restoring.delete(live))
      this.#restoring.set(live, restoring)
    }
    return restoring
  }

  async #restoreAll(live: LiveConnection): Promise<void> {
    // What others are declaring on its channel goes on.
    const { declaring, gone, storages } = this.#of(live)
    // Queues that were bound to what was deleted may be deleted too.
    for (const [topic, state] of storages) if (state === 'there') gone.set(topic, false)
    this.#known.set(live, new Known(declaring, gone))
    await this.restore(live, 'publish')
    this.#parts.onGone()
    if (!this.#parts.options.declare) return
    await this.standingGroups(live, this.#parts.options.groups)
    // Consumers in other processes do not notice, and their bindings are gone too.
    for (const { topic, group, layout } of await this.#parts.registry.list(live))
      if (layout !== undefined) await this.renewBindings(live, { topic, group, layout, options: undefined })
  }

  /** Rejects with `ConfigurationError` for a group whose queue would have the name of the topic's stream. */
  async group(live: LiveConnection, spec: GroupSpec): Promise<DeclaredGroup> {
    const { names, groups, onRestored } = this.#parts
    const { topic, group } = spec
    const first = names.group(topic, group)
    if (first === names.stream(topic))
      throw new ConfigurationError(`The group "${group}" of "${topic}"`, [
        { path: 'group', message: `can't have this name: "${first}" is the stream of the topic` },
      ])
    const declared = await this.#declareGroup(live, spec)
    if (topic !== ALL_TOPICS) groups.set(topic, group, declared.layout)
    this.#report(declared.drifts)
    // A member that misses a queue of its own reports that itself.
    if (spec.missing === undefined && declared.restored.length > 0) onRestored(topic, group, declared.restored)
    return declared
  }

  /**
   * Leads topics of the group to the queues that its topics share, which exist. Rejects with `ConfigurationError` for a topic that
   * has queues of its own. `isDeleted`: the group may have been deleted, and its topics taken from the list, on this connection.
   */
  async topicsOfGroup(
    live: LiveConnection,
    group: string,
    topics: readonly string[],
    layout: GroupLayout,
    isDeleted = false,
  ): Promise<number> {
    const { names, options, groups } = this.#parts
    for (const topic of topics) this.#sharing.add(`${topic}:${group}`)
    const know = (): void => {
      for (const topic of topics) groups.set(topic, group, layout)
    }
    if (!options.declare) {
      know()
      return 0
    }
    const listed = await this.#listed(live, isDeleted ? 0 : Infinity)
    const declaring = new DeclareChannel(live)
    try {
      // A topic in the list has no queues of its own.
      const newTopics = topics.filter((topic) => !listed.has(`${topic}:${group}`))
      for (const topic of newTopics) await this.#refuseIfThere(declaring, topic, group)
      const count = await this.#withExchanges(declaring, () => bindTopics(declaring, names, group, topics, layout))
      await Promise.all(newTopics.map((topic) => this.#register(topic, group, layout)))
      for (const topic of newTopics) listed.add(`${topic}:${group}`)
      know()
      return count
    } finally {
      await declaring.close()
    }
  }

  /** Whether the topic shares the queues of the group with others, as its members declared it a moment ago or earlier. */
  async isSharing(live: LiveConnection, topic: string, group: string): Promise<boolean> {
    return this.#parts.options.declare && (await this.#listed(live, LISTED_MS)).has(`${topic}:${group}`)
  }

  /** Whether the topic has shared the queues of the group, as far as is known here: it may have been deleted since. */
  isOfGroup(topic: string, group: string): boolean {
    return this.#sharing.has(`${topic}:${group}`)
  }

  /** Not read longer ago than that. */
  #listed(live: LiveConnection, maxAgeMs: number): Promise<Set<string>> {
    const known = this.#of(live)
    const now = this.#parts.clock.monotonic()
    if (known.listed === undefined || now - known.listedAt >= maxAgeMs) {
      known.listed = this.#sharingTopics(live)
      known.listedAt = now
    }
    return known.listed
  }

  async #sharingTopics(live: LiveConnection): Promise<Set<string>> {
    const records = await this.#parts.registry.list(live).catch((error: unknown) => {
      if (!live.isOpen) throw error
      // Without the list every topic is looked for, and listed once more.
      return []
    })
    const found = new Set<string>()
    for (const { topic, group, layout } of records) if (layout?.perGroup === true) found.add(`${topic}:${group}`)
    for (const known of found) this.#sharing.add(known)
    return found
  }

  /** One group has one form, or its messages would be in two places. */
  async #refuseIfThere(declaring: DeclareChannel, topic: string, group: string): Promise<void> {
    const queue = this.#parts.names.group(topic, group)
    if (!(await declaring.exists((channel) => channel.checkQueue(queue)))) return
    const isPerGroup = topic === ALL_TOPICS
    const rest = isPerGroup
      ? `all of its topics share its queues ("${queue}"), so its members need queues: 'per-group' too`
      : `has queues of its own ("${queue}"), so its members need queues: 'per-topic', or the order of those. To change it, let its members handle what waits, and delete it: bus.admin().deleteGroup("${topic}", "${group}")`
    throw new ConfigurationError(nameOfGroup(topic, group), [{ path: 'queues', message: rest }])
  }

  #refusePerGroup(live: LiveConnection, declaring: DeclareChannel, group: string): Promise<void> {
    const { perTopic } = this.#of(live)
    let refusing = perTopic.get(group)
    if (refusing === undefined) {
      refusing = this.#refuseIfThere(declaring, ALL_TOPICS, group)
      perTopic.set(group, refusing)
      refusing.catch(() => perTopic.delete(group))
    }
    return refusing
  }

  async #declareGroup(live: LiveConnection, spec: GroupSpec): Promise<DeclaredGroup> {
    const { clock, names, options } = this.#parts
    const { quorumArguments, deliveryLimit } = options
    const declaring = new DeclareChannel(live)
    try {
      if (!options.declare) return await checkGroup(declaring, names, spec)
      if (options.queues === 'per-topic') await this.#refusePerGroup(live, declaring, spec.group)
      else if (spec.topic !== ALL_TOPICS && (await this.isSharing(live, spec.topic, spec.group)))
        throw new ConfigurationError(nameOfGroup(spec.topic, spec.group), [
          {
            path: 'order',
            message: `exists in the queues that all topics of the group share, which does not keep order "${spec.layout.order}". Consume it with order "key", use another group, or delete it with its messages: bus.admin().deleteGroup("${spec.topic}", "${spec.group}")`,
          },
        ])
      const context = { clock, names, queueType: this.queueType, quorumArguments, deliveryLimit }
      const declared = await this.#withExchanges(declaring, () => declareGroup(declaring, context, spec))
      const { isNew, restored } = declared
      const existed = !isNew || (restored.length > 0 && (await this.#isListed(live, spec)))
      // Where topics share queues, each topic is listed, and not the queues.
      if (!existed && spec.topic !== ALL_TOPICS) await this.#register(spec.topic, spec.group, declared.layout)
      // Delayed copies may be on their way to queues that were made again.
      if (spec.missing !== undefined || restored.length > 0)
        await declaring.exists((channel) =>
          Promise.all(declared.queues.map((queue) => channel.bindQueue(queue, names.queues, queue))),
        )
      return existed ? declared : { ...declared, restored: [] }
    } finally {
      await declaring.close()
    }
  }

  /** Assumes that it is when the list can't be read: a loss too many is better than one that is not reported. */
  async #isListed(live: LiveConnection, spec: GroupSpec): Promise<boolean> {
    try {
      const records = await this.#parts.registry.list(live)
      return records.some(
        ({ topic, group, layout }) =>
          group === spec.group && (topic === spec.topic || (spec.topic === ALL_TOPICS && layout?.perGroup === true)),
      )
    } catch {
      return true
    }
  }

  /** Only the list of groups needs it, so a start does not wait for long: the broker may be blocking publishers. */
  async #register(topic: string, group: string, layout: GroupLayout): Promise<void> {
    const { clock, closing, register } = this.#parts
    const registering = async (): Promise<void> => {
      while (!closing.aborted) {
        try {
          return await register(topic, group, layout)
        } catch (error) {
          if (!(error instanceof TimeoutError)) throw error
        }
        await sleep(clock, REGISTER_AGAIN_MS, closing).catch(() => undefined)
      }
    }
    await settledWithin(clock, REGISTER_MS, registering())
  }

  /** Runs it again when an exchange of the bus was deleted, and no publisher has noticed yet. */
  async #withExchanges<Result>(declaring: DeclareChannel, work: () => Promise<Result>): Promise<Result> {
    try {
      return await work()
    } catch (error) {
      if (replyCode(error) !== REPLY.notFound || isNodeAway(error)) throw error
      await this.#restoreExchanges(declaring)
      return await work()
    }
  }

  async #restoreExchanges(declaring: DeclareChannel): Promise<void> {
    const { names, onGone } = this.#parts
    const isGone = !(await declaring.exists((channel) =>
      Promise.all([names.main, names.system].map((exchange) => channel.checkExchange(exchange))),
    ))
    this.#report(await declareExchanges(declaring, names, this.#storageArguments))
    if (isGone) onGone()
  }

  /** Declares again what all groups share; resolves with the number of requests. */
  async renewShared(live: LiveConnection): Promise<number> {
    const { names, options, onSharedLost } = this.#parts
    if (!options.declare) return 0
    const declaring = new DeclareChannel(live)
    const rungs = Array.from({ length: this.#rungs }, (_, rung) => names.delay(rung))
    const gone: string[] = []
    try {
      for (const queue of [names.groups, ...rungs])
        if (!(await declaring.exists((channel) => channel.checkQueue(queue)))) gone.push(queue)
      await this.#restoreExchanges(declaring)
      if (rungs.length > 0)
        this.#report(await declareLadder(declaring, names, this.#storageArguments, 0, rungs.length - 1, this.#settled))
      if (gone.length > 0) onSharedLost(gone)
      return SHARED_REQUESTS + REQUESTS_PER_RUNG * rungs.length
    } finally {
      await declaring.close()
    }
  }

  /** Binds the queues of a group again; resolves with the number of bindings. */
  async renewBindings(live: LiveConnection, spec: GroupSpec): Promise<number> {
    const { names, options } = this.#parts
    if (!options.declare) return 0
    const declaring = new DeclareChannel(live)
    const { topic, group, layout } = spec
    try {
      if (topic !== ALL_TOPICS && layout.perGroup === true)
        return await this.#withExchanges(declaring, () => bindTopics(declaring, names, group, [topic], layout))
      const queues = queuesOf(names.group(topic, group), layout)
      return await this.#withExchanges(declaring, () => bindGroup(declaring, names, spec, queues))
    } finally {
      await declaring.close()
    }
  }

  /** Declares the queue of notes about the attempts of a group. */
  async notes(live: LiveConnection, queue: string): Promise<void> {
    if (!this.#parts.options.declare) return
    const declaring = new DeclareChannel(live)
    try {
      this.#report(await declareQueue(declaring, queue, { durable: true, arguments: notesArguments() }, []))
      await this.#bindAlone(declaring, [queue])
    } finally {
      await declaring.close()
    }
  }

  /** Declares the groups that must exist whether they have members or not. */
  async standingGroups(live: LiveConnection, groups: readonly Required<GroupDeclaration>[]): Promise<void> {
    const { options } = this.#parts
    for (const { topic, group, order = 'key', arguments: args } of groups) {
      const isShared = sharesQueues(options, { topic, order })
      const { queues, layout } = await this.group(live, {
        topic: isShared ? ALL_TOPICS : topic,
        group,
        layout: isShared ? sharedLayout(options) : { order, partitions: order === 'key' ? options.partitions : 1 },
        options: { arguments: args },
      })
      if (isShared) await this.topicsOfGroup(live, group, [topic], layout)
      // Its members may not be allowed to do that.
      await this.#bindAlone(this.#of(live).declaring, queues)
    }
  }

  storage(live: LiveConnection, topic: string): Promise<void> | undefined {
    if (!this.#parts.options.declare) return undefined
    const { storages } = this.#of(live)
    const known = storages.get(topic)
    if (known !== undefined) return known === 'there' ? undefined : known
    const doing = this.#declareStorage(this.#of(live), topic).then(
      () => void storages.set(topic, 'there'),
      (error: unknown) => {
        storages.delete(topic)
        throw error
      },
    )
    storages.set(topic, doing)
    return doing
  }

  async #declareStorage({ declaring, gone }: Known, topic: string): Promise<void> {
    const { names, onStorageLost } = this.#parts
    const queue = names.storage(topic)
    // Or it exists, and has lost its binding. If what follows fails, the next attempt may find the queue.
    if (gone.get(topic) === false && !(await declaring.exists((channel) => channel.checkQueue(queue))))
      gone.set(topic, true)
    const drifts = await this.#withExchanges(declaring, () =>
      declareStorage(declaring, names, this.#storageArguments, topic),
    )
    this.#report(drifts)
    const isLost = gone.get(topic) === true
    gone.delete(topic)
    if (isLost) onStorageLost(topic, queue)
  }

  storageGone(live: LiveConnection, topic: string): void {
    const { gone, storages } = this.#of(live)
    if (storages.get(topic) === 'there') gone.set(topic, false)
    storages.delete(topic)
  }

  copyGroup(live: LiveConnection, message: OutgoingMessage): Promise<void> | undefined {
    const { queues } = this.#parts
    const first = queues.firstOf(message)
    return queues.isKnown(first) ? undefined : this.#countQueues(live, message, first)
  }

  async #countQueues(live: LiveConnection, { topic, group = '' }: OutgoingMessage, first: string): Promise<void> {
    const { groups, names, queues } = this.#parts
    const declaring = new DeclareChannel(live)
    try {
      const count = await countQueues(declaring, first)
      const shared = count > 0 ? 0 : await countQueues(declaring, names.group(ALL_TOPICS, group))
      if (shared > 0) groups.set(topic, group, { order: 'key', partitions: shared, perGroup: true })
      queues.learn(shared > 0 ? names.group(ALL_TOPICS, group) : first, Math.max(1, count, shared))
    } finally {
      await declaring.close()
    }
  }

  groupGone(live: LiveConnection, message: OutgoingMessage, queue: string | undefined): void {
    const { queues } = this.#parts
    this.#of(live).ways.delete(queue ?? queues.queueOf(message))
    queues.forget(message)
  }

  way(live: LiveConnection, queue: string): Promise<void> | undefined {
    if (!this.#parts.options.declare) return undefined
    const { ways, declaring } = this.#of(live)
    const known = ways.get(queue)
    if (known !== undefined) return known === 'there' ? undefined : known
    const doing = this.#bindAlone(declaring, [queue]).then(
      () => void ways.set(queue, 'there'),
      (error: unknown) => {
        ways.delete(queue)
        throw error
      },
    )
    ways.set(queue, doing)
    return doing
  }

  /** Makes queues reachable by their names. */
  async #bindAlone(declaring: DeclareChannel, queues: readonly string[]): Promise<void> {
    const { names } = this.#parts
    await declareQueuesExchange(declaring, names)
    await declaring.run((channel) => Promise.all(queues.map((queue) => channel.bindQueue(queue, names.queues, queue))))
  }

  delay(live: LiveConnection, rung: number): Promise<void> | undefined {
    const known = this.#of(live)
    if (known.rungs > rung) return undefined
    // One after another: a second caller may need more rungs than the first.
    known.delay = (known.delay ?? Promise.resolve()).catch(() => undefined).then(() => this.#declareDelay(known, rung))
    return known.delay
  }

  giveUp(live: LiveConnection): void {
    // A channel that does not answer may not close either.
    void this.#known.get(live)?.declaring.close()
    this.#known.delete(live)
  }

  async #declareDelay(known: Known, rung: number): Promise<void> {
    const { names, options, connector, closing, router } = this.#parts
    const { live } = known.declaring
    if (known.rungs > rung) return
    if (options.delay !== 'ladder') {
      this.#plugin ??= options.delay === 'plugin' || (await hasDelayPlugin(connector, names, live.attempt, closing))
      if (this.#plugin) {
        if (options.declare) this.#report(await declareDelayExchange(known.declaring, names, this.#storageArguments))
        router.usesPlugin = true
        known.rungs = Infinity
        return
      }
    }
    if (options.declare) {
      this.#report(
        await declareLadder(known.declaring, names, this.#storageArguments, known.rungs, rung, this.#settled),
      )
    }
    known.rungs = rung + 1
    this.#rungs = Math.max(this.#rungs, known.rungs)
  }

  readonly #settled = (): Promise<void> =>
    this.queueType === 'quorum' ? sleep(this.#parts.clock, YOUNG_MS, this.#parts.closing) : Promise.resolve()

  /** Reports only once: each connection finds the same. */
  #report(drifts: readonly Drift[]): void {
    for (const drift of drifts) {
      const name = `${drift.queue} ${drift.argument}`
      if (this.#reported.has(name) || this.#reported.size >= MAX_REPORTED) continue
      this.#reported.add(name)
      this.#parts.onDrift(drift)
    }
  }

  #of(live: LiveConnection): Known {
    let known = this.#known.get(live)
    if (known === undefined) {
      known = new Known(new DeclareChannel(live))
      this.#known.set(live, known)
    }
    return known
  }
}
