import type { Random } from 'busbar/testing'
import type { Broker } from '../../../tools/brokers/index.ts'
import { pause } from '../../fault/flow.ts'
import type { Member } from './member.ts'

/** What a fault may do to the run. */
export interface Scene {
  readonly random: Random
  readonly broker: Broker | undefined
  /** Kills or stops the member, and lets another one of its group join after the pause. */
  readonly replace: (member: Member, how: 'kill' | 'stop', pauseMs: number) => Promise<void>
  readonly join: () => Promise<void>
  readonly replacePublisher: (how: 'kill' | 'stop') => Promise<void>
}

export interface FaultKind {
  readonly name: string
  /** How often it is chosen, against the others. */
  readonly weight: number
  /** What it hits; a member is reserved for it, and the broker is nobody else's meanwhile. */
  readonly target: 'member' | 'broker' | 'publisher' | 'group'
  /** Notes of attempts made meanwhile need not reach the broker. Default: false. */
  readonly severs?: boolean
  /** Only when it lasts for so long. Default: 0. */
  readonly seversAfterMs?: number
  /** Runs it to its end, the healing included. */
  readonly run: (scene: Scene, member: Member) => Promise<void>
}

/** What is left at least of a lease of 3 s, the shortest of the soaks, which is renewed every second. */
const LEASE_LEFT_MS = 2_000

const ofProcesses: readonly FaultKind[] = [
  {
    name: 'kill',
    weight: 5,
    target: 'member',
    run: ({ random, replace }, member) => replace(member, 'kill', random.integer(0, 3_000)),
  },
  {
    name: 'freeze',
    weight: 4,
    target: 'member',
    run: async ({ random }, member) => {
      member.child?.freeze()
      await pause(random.integer(1_000, 12_000))
      member.child?.thaw()
    },
  },
  {
    name: 'publisher killed',
    weight: 1,
    target: 'publisher',
    run: ({ replacePublisher }) => replacePublisher('kill'),
  },
]

const always: readonly FaultKind[] = [
  {
    name: 'close',
    weight: 3,
    target: 'member',
    run: ({ random, replace }, member) => replace(member, 'stop', random.integer(0, 2_000)),
  },
  { name: 'join', weight: 2, target: 'group', run: ({ join }) => join() },
  { name: 'publisher closed', weight: 1, target: 'publisher', run: ({ replacePublisher }) => replacePublisher('stop') },
]

const ofConnections: readonly FaultKind[] = [
  { name: 'cut', weight: 3, target: 'member', severs: true, run: async (_, member) => member.proxy?.cut() },
  { name: 'reset', weight: 2, target: 'member', severs: true, run: async (_, member) => member.proxy?.reset() },
  lasting('blackhole', 2, [1_000, 9_000], (member) => member.proxy?.blackhole()),
  // The broker's side is closed, and the client is not told.
  lasting('half-open client', 2, [2_000, 12_000], (member) => member.proxy?.halfOpen('client')),
  // The client's side is closed, and the broker keeps its connection, which goes on taking what it sends.
  lasting('half-open broker', 3, [5_000, 15_000], (member) => member.proxy?.halfOpen('target')),
]

const ofBrokers: readonly FaultKind[] = [
  {
    name: 'broker killed',
    weight: 1,
    target: 'broker',
    severs: true,
    run: async ({ random, broker }) => {
      await broker?.kill()
      await pause(random.integer(200, 4_000))
      await broker?.restart()
    },
  },
  {
    name: 'broker paused',
    weight: 1,
    target: 'broker',
    // Nothing can be noted meanwhile. If a lease ends by that, the next owner knows only what was noted before.
    severs: true,
    seversAfterMs: LEASE_LEFT_MS,
    run: async ({ random, broker }) => {
      await broker?.pause()
      await pause(random.integer(1_000, 8_000))
      await broker?.resume()
    },
  },
]

function lasting(
  name: string,
  weight: number,
  [least, most]: readonly [number, number],
  begin: (member: Member) => void,
): FaultKind {
  return {
    name,
    weight,
    target: 'member',
    severs: true,
    run: async ({ random }, member) => {
      begin(member)
      await pause(random.integer(least, most))
      member.proxy?.resume()
    },
  }
}

/** The faults that can happen where these exist. `more` are those of one transport alone. */
export function faultKinds(has: {
  readonly processes: boolean
  readonly broker: boolean
  readonly more?: readonly FaultKind[] | undefined
}): readonly FaultKind[] {
  return [
    ...always,
    ...(has.processes ? ofProcesses : []),
    ...(has.broker ? [...ofConnections, ...ofBrokers] : []),
    ...(has.more ?? []),
  ]
}

export function pickFault(random: Random, kinds: readonly FaultKind[]): FaultKind {
  let at = random.next() * kinds.reduce((total, { weight }) => total + weight, 0)
  for (const kind of kinds) {
    at -= kind.weight
    if (at < 0) return kind
  }
  return random.pick(kinds)
}
