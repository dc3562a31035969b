import { describe, expect, it } from 'vitest'
import { AuthorizationError } from 'busbar'
import { seededRandom } from 'busbar/testing'
import { GroupSimulation, SimulatedMember } from './group-simulation.ts'
import { ModelGroup } from './model-group.ts'

const LEASE_MS = 3_000
const PARTITIONS = 12

/** Some members of one group that consume one topic, on a network without faults. */
class Group {
  readonly simulation = new GroupSimulation(seededRandom('holder'))
  readonly server: ModelGroup
  readonly members: SimulatedMember[] = []

  constructor(tellsTime = true) {
    this.server = new ModelGroup(this.simulation, LEASE_MS, tellsTime)
    // Notices as a broker may send them.
    this.server.onChange = (ids) => {
      for (const { id, process, holder } of this.members)
        if (process.isAlive && (ids === 'all' || ids.includes(id))) this.simulation.at(1, process, () => holder.wake())
    }
  }

  add(id = `m${String(this.members.length).padStart(2, '0')}`): SimulatedMember {
    const member = new SimulatedMember(this.simulation, {
      id,
      rate: 1,
      holder: { leaseMs: LEASE_MS, handoverTimeoutMs: 500 },
      driver: (process) => this.server.driver(process, id),
      stuck: 0,
    })
    this.members.push(member)
    member.holder.consume('orders', PARTITIONS).catch((error: unknown) => member.failures.push(String(error)))
    return member
  }

  get calls(): number {
    return this.members.reduce((sum, { process }) => sum + process.calls, 0)
  }

  loads(): number[] {
    return this.members
      .filter(({ process }) => process.isAlive)
      .map(({ holder }) => holder.partitions.filter(({ topic, partition }) => holder.mayStart(topic, partition)).length)
  }
}

describe('PartitionHolder', () => {
  it('makes a number of calls for a join that grows with the members, not with their square', async () => {
    const group = new Group()
    const perJoin: number[] = []
    for (let members = 1; members <= 24; members++) {
      const before = group.calls
      group.add()
      await group.simulation.run(900)
      perJoin.push(group.calls - before)
    }
    expect(group.loads().reduce((sum, load) => sum + load, 0)).toBe(PARTITIONS)
    // Looks of all, a hand-over by each, and a few more; and at most one renewal of each in that time.
    for (const [index, calls] of perJoin.entries())
      expect(calls, `join of member ${index + 1}`).toBeLessThan(8 * (index + 1) + 12)
  })

  it('makes one call per member and beat when nothing happens', async () => {
    const group = new Group()
    for (let members = 0; members < 6; members++) group.add()
    await group.simulation.run(5_000)
    const before = group.calls
    await group.simulation.run(30_000)
    expect((group.calls - before) / 6).toBeLessThanOrEqual(31)
  })

  it('hands a share to a newcomer within the time that handlers take', async () => {
    const group = new Group()
    group.add()
    await group.simulation.run(1_000)
    expect(group.loads()).toEqual([12])
    group.add()
    // The notice of the join comes while the first member is looking at the group for its next renewal.
    await group.simulation.run(400)
    expect(group.loads()).toEqual([6, 6])
  })

  it('passes positions and generations on', async () => {
    const group = new Group()
    const first = group.add()
    await group.simulation.run(100)
    for (const one of group.server.partitions.values()) one.position = 40 + one.partition
    void first.holder.leave()
    await group.simulation.run(1_000)
    const second = group.add()
    await group.simulation.run(100)
    const claimed = [...second.reading.values()]
    expect(claimed.map(({ position }) => position)).toEqual(claimed.map(({ partition }) => 40 + partition))
    expect(claimed.every(({ generation, isUnclean }) => generation === 2 && !isUnclean)).toBe(true)
  })

  it.each([true, false])(
    'takes over from a dead member after its lease (server tells the time: %s)',
    async (tellsTime) => {
      const group = new Group(tellsTime)
      const dead = group.add()
      group.add()
      await group.simulation.run(2_000)
      dead.process.isAlive = false
      await group.simulation.run(LEASE_MS - 1_100)
      expect(group.loads()).toEqual([6])
      await group.simulation.run(2_600)
      expect(group.loads()).toEqual([12])
      const claimed = [...(group.members[1] as SimulatedMember).reading.values()]
      expect(claimed.filter(({ isUnclean }) => isUnclean).length).toBe(6)
    },
  )

  it('gives a member that keeps crashing nothing once that is known', async () => {
    const group = new Group()
    const healthy = group.add('healthy')
    await group.simulation.run(LEASE_MS)
    let without = 0
    for (let crashes = 0; crashes < 20; crashes++) {
      const crashing = group.add(`crash-${crashes}`)
      await group.simulation.run(1_000)
      crashing.process.isAlive = false
      if (crashes >= 8 && healthy.holder.partitions.length < PARTITIONS) without++
    }
    expect(without).toBe(0)
  })

  it('loses everything at the end of its lease, even when it was frozen', async () => {
    const group = new Group()
    const member = group.add()
    await group.simulation.run(1_000)
    member.process.frozenUntil = group.simulation.now + LEASE_MS + 500
    await group.simulation.run(LEASE_MS + 100)
    // No timer has fired yet, and nothing was told.
    expect(member.reading.size).toBe(PARTITIONS)
    expect(member.holder.holds('orders', 0)).toBe(false)
    expect(member.holder.leaseLeftMs).toBe(0)
    await group.simulation.run(1_000)
    expect(member.holder.holds('orders', 0)).toBe(true)
    expect([...member.reading.values()].every(({ isUnclean }) => isUnclean)).toBe(true)
  })

  it('keeps its partitions over a short loss of the connection', async () => {
    const group = new Group()
    const member = group.add()
    await group.simulation.run(1_000)
    member.holder.down()
    await group.simulation.run(LEASE_MS / 2)
    member.holder.up()
    await group.simulation.run(1_000)
    expect(member.rebalances.length).toBe(1)
    expect(member.holder.holds('orders', 0)).toBe(true)
  })

  it('does not take others for dead because the server was away', async () => {
    const group = new Group(false)
    for (let members = 0; members < 3; members++) group.add()
    await group.simulation.run(2_000)
    for (const { holder } of group.members) holder.down()
    await group.simulation.run(2 * LEASE_MS)
    group.members[0]?.holder.up()
    await group.simulation.run(LEASE_MS / 2)
    for (const { holder } of group.members.slice(1)) holder.up()
    await group.simulation.run(2_000)
    expect(group.server.members.size).toBe(3)
    expect(group.loads()).toEqual([4, 4, 4])
  })

  it('renews by commits, without beats that write', async () => {
    const group = new Group()
    const member = group.add()
    await group.simulation.run(1_100)
    const renewedAt = group.server.members.get('m00')?.renewedAt
    for (let commits = 0; commits < 40; commits++) {
      await group.simulation.run(100)
      member.holder.renewed(member.process.clock.monotonic())
    }
    expect(group.server.members.get('m00')?.renewedAt).toBe(renewedAt)
    expect(member.holder.leaseLeftMs).toBe(LEASE_MS)
  })

  it('loses a partition that the group has given to another member', async () => {
    const group = new Group()
    const member = group.add()
    await group.simulation.run(1_000)
    const taken = group.server.partitions.get('orders/3')
    if (taken !== undefined) Object.assign(taken, { holder: 'operator', generation: taken.generation + 1 })
    group.server.touch()
    await group.simulation.run(1_100)
    expect(member.holder.holds('orders', 3)).toBe(false)
    expect(member.reading.has('orders/3')).toBe(false)
    expect(member.holder.partitions.length).toBe(PARTITIONS - 1)
  })

  it.each(Array.from({ length: 16 }, (_, ms) => ms + 1))(
    'leaves nothing behind when it leaves %i ms after it came',
    async (ms) => {
      const group = new Group()
      const member = group.add()
      await group.simulation.run(ms)
      void member.holder.leave()
      await group.simulation.run(2_000)
      expect(member.holder.partitions).toEqual([])
      expect(member.reading.size).toBe(0)
      expect(member.violations).toEqual([])
      expect(group.server.members.size).toBe(0)
      expect([...group.server.partitions.values()].filter(({ holder }) => holder !== undefined)).toEqual([])
    },
  )

  it.each(Array.from({ length: 16 }, (_, ms) => ms + 1))(
    'takes nothing after leaving when the connection breaks after %i ms',
    async (ms) => {
      const group = new Group()
      const member = group.add()
      await group.simulation.run(ms)
      // The reply to a call may still be on its way.
      member.holder.down()
      void member.holder.leave()
      await group.simulation.run(2_000)
      expect(member.holder.partitions).toEqual([])
      expect(member.reading.size).toBe(0)
      expect(member.violations).toEqual([])
    },
  )

  it('takes over from all members that died together, within one lease', async () => {
    const group = new Group(false)
    for (let members = 0; members < 6; members++) group.add()
    await group.simulation.run(2_000)
    for (const { process } of group.members) process.isAlive = false
    group.add('m99')
    // A lease since the newcomer's first look, the margin, and a beat to find out.
    await group.simulation.run(LEASE_MS + 300 + LEASE_MS / 3)
    expect(group.loads()).toEqual([12])
  })

  it('reports standby members', async () => {
    const group = new Group()
    for (let members = 0; members < PARTITIONS + 2; members++) group.add()
    await group.simulation.run(5_000)
    expect(group.members.filter(({ holder }) => holder.isStandby).length).toBe(2)
  })

  it('gives a paused topic away, without a limit for its handlers, and takes it back', async () => {
    const group = new Group()
    const pausing = group.add()
    group.add()
    await group.simulation.run(2_000)
    pausing.holder.setPaused('orders', true)
    await group.simulation.run(2_000)
    expect(group.loads()).toEqual([0, 12])
    pausing.holder.setPaused('orders', false)
    await group.simulation.run(2_000)
    expect(group.loads()).toEqual([6, 6])
  })

  it('reads partitions that others know of', async () => {
    const group = new Group()
    group.add()
    const other = group.add()
    await group.simulation.run(1_000)
    void other.holder.consume('orders', 20)
    await group.simulation.run(2_000)
    expect(group.loads()).toEqual([10, 10])
  })

  it('hands a topic over when it is not consumed any more', async () => {
    const group = new Group()
    const member = group.add()
    group.add()
    await group.simulation.run(2_000)
    let isDone = false
    void member.holder.stopConsuming('orders').then(() => (isDone = true))
    await group.simulation.run(1_500)
    expect(isDone).toBe(true)
    expect(group.loads()).toEqual([0, 12])
    expect([...group.server.partitions.values()].some(({ isUnclean }) => isUnclean)).toBe(false)
  })

  it('leaves at once when the connection is lost, and twice without harm', async () => {
    const group = new Group()
    const member = group.add()
    await group.simulation.run(1_000)
    member.holder.down()
    let left = 0
    void member.holder.leave().then(() => left++)
    void member.holder.leave().then(() => left++)
    await group.simulation.run(1)
    expect(left).toBe(2)
    expect(member.reading.size).toBe(0)
  })

  it('rejects when the server does not allow it, and goes on trying', async () => {
    const group = new Group()
    const id = 'refused'
    let isAllowed = false
    const driver = (process: SimulatedMember['process']): ReturnType<ModelGroup['driver']> => {
      const real = group.server.driver(process, id)
      const refuse = (): Promise<never> => Promise.reject(new AuthorizationError('not allowed'))
      return { ...real, join: (member) => (isAllowed ? real.join(member) : refuse()) }
    }
    const holder = { leaseMs: LEASE_MS, handoverTimeoutMs: 500 }
    const member = new SimulatedMember(group.simulation, { id, rate: 1, holder, driver, stuck: 0 })
    let refused: unknown
    member.holder.consume('orders', 2).catch((error: unknown) => (refused = error))
    await group.simulation.run(100)
    expect(refused).toBeInstanceOf(AuthorizationError)
    expect(member.holder.trouble).toContain('not allowed')
    isAllowed = true
    await group.simulation.run(2_000)
    expect(member.holder.holds('orders', 1)).toBe(true)
    expect(member.holder.trouble).toBeUndefined()
  })
})
