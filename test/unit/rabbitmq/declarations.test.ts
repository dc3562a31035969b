import assert from 'node:assert/strict'
import { test } from 'vitest'
import { manualClock } from 'busbar/testing'
import type { ManualClock } from 'busbar/testing'
import { ConfigurationError } from 'busbar'
import { resolveConsumerOptions } from '../../../src/transports/rabbitmq/consume/consumer-options.ts'
import { Topology } from '../../../src/transports/rabbitmq/topology/topology.ts'
import type { TopologyParts } from '../../../src/transports/rabbitmq/topology/topology.ts'
import { Names } from '../../../src/transports/rabbitmq/topology/names.ts'
import type { RabbitMqOptions } from '../../../src/transports/rabbitmq/options.ts'
import { resolveRabbitMqOptions } from '../../../src/transports/rabbitmq/resolve-options.ts'
import type { GroupRegistry } from '../../../src/transports/rabbitmq/topology/group-registry.ts'
import { KnownGroups } from '../../../src/transports/rabbitmq/topology/known-groups.ts'
import type { GroupRecord } from '../../../src/transports/rabbitmq/topology/known-groups.ts'
import { fakeSession } from './fake-channel.ts'

const RUNG = 3

test('new queues for delays are used when the broker has them on disk, also by a process that finds them', async () => {
  for (const isFound of [false, true]) {
    const { live, queues, refusing, clock, declarations } = declaring()
    if (isFound) queues.set(`busbar.delay.${RUNG}`, rungOf(RUNG))
    refusing.set('checkExchange', Object.assign(new Error('NOT_FOUND'), { code: 404 }))
    let isReady = false
    const delay = declarations.delay(live, RUNG)?.then(() => void (isReady = true))
    await clock.advance(1_499)
    assert.equal(isReady, false)
    await clock.advance(1)
    await delay
    assert.equal(isReady, true)
  }
})

test('queues for delays that have their exchange are used at once', async () => {
  const { live, declarations } = declaring()
  await declarations.delay(live, RUNG)
})

const rungOf = (level: number): Record<string, unknown> => ({
  'x-queue-type': 'quorum',
  'x-queue-leader-locator': 'balanced',
  'x-delivery-limit': 1_000_000_000,
  'x-message-ttl': 16 * 2 ** level,
  'x-dead-letter-exchange': `busbar.delay.${level - 1}`,
  'x-dead-letter-strategy': 'at-least-once',
  'x-overflow': 'reject-publish',
})

interface Declaring extends ReturnType<typeof fakeSession> {
  readonly clock: ManualClock
  readonly declarations: Topology
  /** What was reported: queue, argument, and the value that was wanted. */
  readonly drifts: string[]
  /** Queues whose loss was reported. */
  readonly lost: string[]
  /** Groups that were noted as new. */
  readonly registered: string[]
  /** Groups in the list at the broker. */
  readonly listed: GroupRecord[]
  /** How often all bindings were found to be lost. */
  readonly gone: () => number
}

/** Topology for a broker that has no group yet. */
function declaring(options: RabbitMqOptions = {}): Declaring {
  const drifts: string[] = []
  const lost: string[] = []
  const registered: string[] = []
  const listed: GroupRecord[] = []
  let gone = 0
  const broker = fakeSession()
  broker.missing.add('busbar:~:mail')
  const resolved = resolveRabbitMqOptions(options)
  const names = new Names('busbar')
  const clock = manualClock()
  const parts: Partial<TopologyParts> = {
    options: resolved,
    names,
    clock,
    closing: new AbortController().signal,
    groups: new KnownGroups(),
    registry: { list: async () => listed } as Partial<GroupRegistry> as GroupRegistry,
    register: async (topic, group) => void registered.push(`${topic}:${group}`),
    onRestored: (_topic, _group, queues) => void lost.push(...queues),
    onGone: () => void gone++,
    onStorageLost: (_topic, queue) => void lost.push(queue),
    onDrift: ({ queue, argument, wanted }) => void drifts.push(`${queue} ${argument} ${String(wanted)}`),
  }
  const declarations = new Topology(parts as TopologyParts)
  return { ...broker, clock, declarations, drifts, lost, registered, listed, gone: () => gone }
}

const GROUP = { topic: 'orders', group: 'mail', layout: { order: 'none', partitions: 1 }, options: undefined } as const

test('a group that may not be bound fails with the refusal, not with the end of its channel', async () => {
  const { live, refusing, declarations } = declaring()
  const text = "ACCESS_REFUSED - write access to queue 'busbar:orders:mail' refused"
  refusing.set('bindQueue', Object.assign(new Error(text), { code: 403 }))
  await assert.rejects(declarations.group(live, GROUP), { message: text, code: 403 })
})

test('the first queue of a group is not declared with another one that was deleted, unless it was missed too', async () => {
  const { live, queues, missing, declarations } = declaring()
  const [first, second] = ['busbar:orders:mail', 'busbar:orders:mail:1']
  const layout = { order: 'key', partitions: 2 } as const
  // It is deleted as well, and the member that consumes it has yet to hear of that.
  for (const queue of [first, second]) missing.add(queue)
  await declarations.group(live, { ...GROUP, layout, missing: new Set([second]) })
  assert.deepEqual([...queues.keys()], [second])
  // It may be deleted at any time while it is consumed.
  missing.delete(first)
  await declarations.group(live, { ...GROUP, layout, missing: new Set([second]), watched: new Set([first]) })
  assert.deepEqual([...queues.keys()], [second])
  missing.add(first)
  await declarations.group(live, { ...GROUP, layout, missing: new Set([first]) })
  assert.deepEqual([...queues.keys()], [second, first])
})

test('a queue with other arguments is reported once, also one of dead letters, or of notes', async () => {
  const { live, queues, declarations, drifts } = declaring()
  for (const queue of ['busbar:orders.other.dlq', 'busbar:notes']) queues.set(queue, { 'x-queue-type': 'other' })
  for (let times = 0; times < 2; times++) {
    await declarations.group(live, GROUP)
    await declarations.storage(live, 'orders.other.dlq')
    await declarations.notes(live, 'busbar:notes')
  }
  assert.deepEqual(drifts, ['busbar:orders.other.dlq x-queue-type quorum', 'busbar:notes x-queue-type classic'])
})

test("the dead letters of a group with classic queues are in a queue of the transport's type", async () => {
  const { live, queues, declarations, drifts } = declaring()
  const native = { queueType: 'classic' }
  const options = resolveConsumerOptions({ native, topic: 'orders', ephemeral: false }, resolveRabbitMqOptions({}))
  await declarations.group(live, { ...GROUP, options })
  await declarations.storage(live, 'orders.mail.dlq')
  assert.deepEqual(drifts, [])
  assert.equal(queues.get('busbar:orders:mail')?.['x-queue-type'], 'classic')
  assert.equal(queues.get('busbar:orders.mail.dlq')?.['x-queue-type'], 'quorum')
})

test('quorumArguments are added to the quorum queues, and to no classic queue', async () => {
  const quorumArguments = { 'x-quorum-initial-group-size': 5, 'x-queue-leader-locator': 'client-local' }
  const { live, queues, declarations } = declaring({ queueType: 'quorum', quorumArguments })
  await declarations.restore(live, 'publish')
  await declarations.group(live, GROUP)
  await declarations.storage(live, 'orders.other.dlq')
  await declarations.delay(live, 0)
  await declarations.notes(live, 'busbar:notes')
  const quorum = ['busbar.unrouted', 'busbar.dead-letters', 'busbar.groups', 'busbar:orders:mail']
  for (const queue of [...quorum, 'busbar:orders.other.dlq', 'busbar.delay.0'])
    assert.partialDeepStrictEqual(queues.get(queue), { 'x-queue-type': 'quorum', ...quorumArguments }, queue)
  assert.equal(queues.get('busbar:notes')?.['x-quorum-initial-group-size'], undefined)
})

test('arguments of standing groups are those of their queues', async () => {
  const given = { topic: 'orders', group: 'mail', order: 'none', arguments: { 'x-max-length': 1_000 } } as const
  const { live, queues, declarations } = declaring({ groups: [given] })
  await declarations.standingGroups(live, resolveRabbitMqOptions({ groups: [given] }).groups)
  assert.equal(queues.get('busbar:orders:mail')?.['x-max-length'], 1_000)
})

test("a group whose queue would be the topic's stream is refused, and nothing is declared", async () => {
  const { live, queues, declarations } = declaring()
  await assert.rejects(
    declarations.group(live, { ...GROUP, group: 'stream' }),
    (error) => ConfigurationError.is(error) && /"stream" of "orders".*busbar:orders:stream/s.test(error.message),
  )
  assert.equal(queues.size, 0)
})

test('a deleted dead-letter queue is reported, also when declaring it again fails at first', async () => {
  const { live, missing, failing, declarations, lost } = declaring()
  const [topic, queue] = ['orders.mail.dlq', 'busbar:orders.mail.dlq']
  await declarations.storage(live, topic)
  declarations.storageGone(live, topic)
  missing.add(queue)
  failing.add('bindQueue')
  await assert.rejects(declarations.storage(live, topic) ?? Promise.resolve(), /the connection ended/)
  // It was declared, and not bound.
  missing.clear()
  failing.clear()
  await declarations.storage(live, topic)
  assert.deepEqual(lost, [queue])
})

test('a deleted dead-letter queue is reported, also when the exchange was deleted with it', async () => {
  for (const isNoticed of [true, false]) {
    const { live, missing, declarations, lost } = declaring({ queueType: 'quorum' })
    const [topic, queue] = ['orders.mail.dlq', 'busbar:orders.mail.dlq']
    await declarations.storage(live, topic)
    missing.add(queue)
    if (isNoticed) declarations.storageGone(live, topic)
    await declarations.again(live)
    await declarations.storage(live, topic)
    assert.deepEqual(lost, [queue])
  }
})

test('exchanges that several lanes miss are declared again once, and what others are declaring goes on', async () => {
  const { live, declarations, gone } = declaring({ queueType: 'quorum' })
  const storage = declarations.storage(live, 'orders.mail.dlq')
  await Promise.all([storage, declarations.again(live), declarations.again(live)])
  assert.equal(gone(), 1)
  await declarations.again(live)
  assert.equal(gone(), 2)
})

const KEYED = { ...GROUP, layout: { order: 'key', partitions: 4 } } as const

test('the first queue of a group is declared last, and says which layout the group has', async () => {
  const { live, queues, declarations, missing, registered } = declaring()
  for (const partition of ['', ':1', ':2', ':3']) missing.add(`busbar:orders:mail${partition}`)
  await declarations.group(live, KEYED)
  assert.deepEqual(
    [...queues.keys()],
    ['busbar:orders:mail:1', 'busbar:orders:mail:2', 'busbar:orders:mail:3', 'busbar:orders:mail'],
  )
  assert.equal(queues.get('busbar:orders:mail')?.['x-dead-letter-routing-key'], 'dead.v2.key4.mail')
  assert.deepEqual(registered, ['orders:mail'])
})

test('a queue that is missing although others of its group exist was deleted, which is reported', async () => {
  for (const partition of ['', ':2']) {
    const { live, declarations, missing, lost, clock, registered, listed } = declaring()
    listed.push(KEYED)
    missing.add(`busbar:orders:mail${partition}`)
    const group = declarations.group(live, KEYED)
    await clock.advance(500)
    await group
    assert.deepEqual(lost, [`busbar:orders:mail${partition}`])
    assert.deepEqual(registered, [])
  }
})

test('a group whose first member died while it declared the queues is new for the next one: listed, and no loss', async () => {
  const { live, declarations, missing, lost, clock, registered, listed } = declaring()
  listed.push({ ...KEYED, group: 'other' })
  missing.add('busbar:orders:mail')
  const group = declarations.group(live, KEYED)
  await clock.advance(500)
  assert.deepEqual((await group).restored, [])
  assert.deepEqual(lost, [])
  assert.deepEqual(registered, ['orders:mail'])
})

test('a member that consumed a deleted queue has time to declare it again, and to report it', async () => {
  for (const partition of ['', ':2']) {
    const { live, declarations, missing, lost, clock, queues } = declaring()
    const queue = `busbar:orders:mail${partition}`
    missing.add(queue)
    const group = declarations.group(live, KEYED)
    await clock.advance(499)
    assert.equal(queues.has(queue), false)
    missing.delete(queue)
    await clock.advance(1)
    await group
    assert.deepEqual(lost, [])
  }
})

const SHARED = { order: 'key', partitions: 4, perGroup: true } as const

test('topics that share the queues of their group are bound to its exchange, and listed once', async () => {
  const { live, missing, bindings, declarations, registered, listed } = declaring({ queues: 'per-group' })
  for (const topic of ['a.b', 'c', 'd']) missing.add(`busbar:${topic}:mail`)
  listed.push({ topic: 'd', group: 'mail', layout: SHARED })
  for (const topics of [['a.b', 'c', 'd'], ['c']]) {
    bindings.length = 0
    assert.equal(await declarations.topicsOfGroup(live, 'mail', topics, SHARED), 2 * topics.length)
    assert.deepEqual(
      bindings,
      topics.flatMap((topic) => [topic, `${topic}.*.*`].map((key) => `busbar ${key} busbar:~:mail:spread`)),
    )
  }
  assert.deepEqual(registered, ['a.b:mail', 'c:mail'])
})

test('topics of a group with one queue are bound to that queue', async () => {
  const { live, missing, bindings, declarations } = declaring({ queues: 'per-group', partitions: 1 })
  missing.add('busbar:c:mail')
  await declarations.topicsOfGroup(live, 'mail', ['c'], { ...SHARED, partitions: 1 })
  assert.deepEqual(bindings, ['busbar c busbar:~:mail', 'busbar c.*.* busbar:~:mail'])
})

test('a topic with queues of its own is refused where topics share queues, and the other way round', async () => {
  const perGroup = declaring({ queues: 'per-group' })
  const refused = perGroup.declarations.topicsOfGroup(perGroup.live, 'mail', ['orders'], SHARED)
  await assert.rejects(refused, (error) => ConfigurationError.is(error) && /has queues of its own/.test(error.message))
  assert.deepEqual(perGroup.bindings, [])
  const perTopic = declaring()
  perTopic.missing.delete('busbar:~:mail')
  await assert.rejects(
    perTopic.declarations.group(perTopic.live, GROUP),
    (error) => ConfigurationError.is(error) && /need queues: 'per-group' too/.test(error.message),
  )
  assert.deepEqual([...perTopic.queues.keys()], [])
})

test('a topic that shares queues is found by members that need no order, and refused to those that need more', async () => {
  const { live, clock, listed, queues, declarations } = declaring({ queues: 'per-group' })
  listed.push({ topic: 'orders', group: 'mail', layout: SHARED })
  assert.equal(await declarations.isSharing(live, 'orders', 'mail'), true)
  assert.equal(await declarations.isSharing(live, 'orders', 'other'), false)
  const strict = { ...GROUP, layout: { order: 'strict', partitions: 1 } } as const
  await assert.rejects(
    declarations.group(live, strict),
    (error) => ConfigurationError.is(error) && /does not keep order "strict"/.test(error.message),
  )
  assert.deepEqual([...queues.keys()], [])
  // Another process has deleted it.
  listed.length = 0
  await clock.advance(5_000)
  assert.equal(await declarations.isSharing(live, 'orders', 'mail'), false)
})

test('a group of the options that shares queues is declared with its topic', async () => {
  const { live, missing, bindings, queues, declarations, registered } = declaring({
    queues: 'per-group',
    partitions: 2,
  })
  for (const queue of ['busbar:~:mail:1', 'busbar:orders:mail']) missing.add(queue)
  const { groups } = resolveRabbitMqOptions({ groups: [{ topic: 'orders', group: 'mail' }] })
  await declarations.standingGroups(live, groups)
  assert.deepEqual([...queues.keys()], ['busbar:~:mail:1', 'busbar:~:mail'])
  assert.ok(bindings.includes('busbar orders busbar:~:mail:spread'))
  assert.deepEqual(registered, ['orders:mail'])
  assert.equal(queues.get('busbar:~:mail')?.['x-dead-letter-routing-key'], 'dead.v2.group2.mail')
})
