import { describe, expect, it } from 'vitest'
import type { SubscriptionSpec } from '../../../src/core/transport.ts'
import { errorFromBroker } from '../../../src/kafka/errors.ts'
import type { ConfigEntry, NewShareGroupOffset, ShareGroupOffset } from '../../../src/kafka/index.ts'
import type { KafkaContext } from '../../../src/transports/kafka/context.ts'
import { groupIdOfShare, prepareShareGroup } from '../../../src/transports/kafka/share/share-group.ts'
import { readShareOptions } from '../../../src/transports/kafka/share/share-options.ts'

const [GROUP_AUTHORIZATION_FAILED, UNSUPPORTED_VERSION, NON_EMPTY_GROUP] = [30, 35, 68]

const SPEC: SubscriptionSpec = {
  topic: 't',
  group: 'g',
  order: 'none',
  ephemeral: false,
  from: 'latest',
  prefetch: 256,
  prefetchBytes: 1_000_000,
  attempts: 4,
  maxPerKey: 32,
  consumerId: 'c',
}

/** Brokers as far as a share group is prepared there. */
class Brokers {
  readonly known: ShareGroupOffset[] = []
  readonly set: Record<string, string> = {}
  readonly altered: NewShareGroupOffset[][] = []
  readonly warnings: string[] = []
  configs: ConfigEntry[] = [
    this.entry('share.delivery.count.limit', '5'),
    this.entry('share.isolation.level', 'read_uncommitted'),
    this.entry('share.auto.offset.reset', 'latest'),
  ]
  readonly refused: Partial<Record<'list' | 'describe' | 'set' | 'alter', number>> = {}

  entry(name: string, value: string, isDefault = true): ConfigEntry {
    return { name, value, isDefault, isReadOnly: false, isSensitive: false }
  }

  begun(partition: number, startOffset: number): void {
    this.known.push({ topic: 't', partition, startOffset, leaderEpoch: 0, lag: 0 })
  }

  prepare(spec: Partial<SubscriptionSpec> = {}): Promise<number> {
    const check = (call: keyof Brokers['refused']): void => {
      const code = this.refused[call]
      if (code !== undefined) throw errorFromBroker(code, call)
    }
    const admin = {
      shareOffsets: {
        list: async () => (check('list'), this.known),
        alter: async (_group: string, starts: NewShareGroupOffset[]) => (
          check('alter'),
          void this.altered.push(starts)
        ),
      },
      configs: {
        describe: async ({ type }: { readonly type: string }) => {
          check('describe')
          return type === 'group' ? this.configs : [this.entry('group.share.delivery.count.limit', '7')]
        },
        alter: async (_of: object, { set }: { readonly set: object }) => (
          check('set'),
          void Object.assign(this.set, set)
        ),
      },
      cluster: { describe: async () => ({ brokers: [{ id: 1 }] }) },
      records: {
        offsets: async (_topic: string, at: string) =>
          [0, 1].map((partition) => ({ partition, offset: at === 'latest' ? 100 + partition : 10 })),
      },
    }
    const context = {
      client: { admin: () => admin },
      groupId: (name: string) => name,
      reports: { warnOnce: (code: string, detail: string) => void this.warnings.push(`${code} ${detail}`) },
    } as unknown as KafkaContext
    return prepareShareGroup(context, { ...SPEC, ...spec }, ['t'])
  }
}

describe('a share group', () => {
  it('begins where its consumer says, and reads committed messages, and all of partitions that are added', async () => {
    const brokers = new Brokers()
    expect(await brokers.prepare()).toBe(5)
    expect(brokers.altered).toEqual([
      [
        { topic: 't', partition: 0, startOffset: 100 },
        { topic: 't', partition: 1, startOffset: 101 },
      ],
    ])
    expect(brokers.set).toEqual({ 'share.isolation.level': 'read_committed', 'share.auto.offset.reset': 'earliest' })
  })

  it('that has begun stays where it is; a partition that came since is read from its start', async () => {
    const brokers = new Brokers()
    brokers.begun(0, 50)
    brokers.begun(1, -1)
    await brokers.prepare()
    expect(brokers.altered).toEqual([[{ topic: 't', partition: 1, startOffset: 10 }]])
  })

  it('keeps what somebody has configured', async () => {
    const brokers = new Brokers()
    brokers.configs = [
      brokers.entry('share.isolation.level', 'read_uncommitted', false),
      brokers.entry('share.auto.offset.reset', 'latest'),
    ]
    // Kafka 4.2 has the limit in the configuration of brokers only.
    expect(await brokers.prepare()).toBe(7)
    expect(brokers.set).toEqual({ 'share.auto.offset.reset': 'earliest' })
  })

  it.each([5, 6])('is refused with %d attempts, which need the last delivery', async (attempts) => {
    const refusal = await new Brokers().prepare({ attempts }).catch((error: unknown) => error)
    expect(refusal).toMatchObject({ code: 'BUSBAR_UNSUPPORTED' })
    expect((refusal as Error).message).toContain(`retry.attempts is ${attempts}`)
    expect((refusal as Error).message).toContain('Set retry.attempts to 4 or less')
  })

  it('is refused where the brokers have none', async () => {
    const brokers = new Brokers()
    brokers.refused.list = UNSUPPORTED_VERSION
    await expect(brokers.prepare()).rejects.toMatchObject({ code: 'BUSBAR_UNSUPPORTED' })
    await expect(brokers.prepare()).rejects.toThrow('Kafka 4.2')
  })

  it('works without the right to look at its configuration, and says what is missing', async () => {
    const brokers = new Brokers()
    brokers.refused.describe = GROUP_AUTHORIZATION_FAILED
    expect(await brokers.prepare()).toBe(5)
    expect(brokers.set).toEqual({})
    brokers.refused.describe = undefined
    brokers.refused.set = GROUP_AUTHORIZATION_FAILED
    expect(await brokers.prepare()).toBe(5)
    expect(brokers.warnings.map((text) => text.split(' ')[0])).toEqual(['share-configs', 'share-configs'])
  })

  it('with members: another one has been faster, or it can not begin at the end', async () => {
    const brokers = new Brokers()
    brokers.refused.alter = NON_EMPTY_GROUP
    await expect(brokers.prepare()).rejects.toMatchObject({ code: 'BUSBAR_UNSUPPORTED' })
    expect(await brokers.prepare({ from: 'earliest' })).toBe(5)
  })

  it('is named after its group, and found by that name', () => {
    expect(groupIdOfShare('billing.share')).toBe('billing')
    expect(groupIdOfShare('billing')).toBeUndefined()
  })
})

describe('native options of a consumer', () => {
  const read = (native: unknown, spec: Partial<SubscriptionSpec> = {}) => readShareOptions({ ...SPEC, ...spec, native })

  it('turn on a share group, or leave it', () => {
    expect(read(undefined)).toBeUndefined()
    expect(read({})).toBeUndefined()
    expect(read({ share: false })).toBeUndefined()
    expect(read({ share: true })).toEqual({ acquireAhead: 0 })
    expect(read({ share: { acquireAhead: 50 } })).toEqual({ acquireAhead: 50 })
  })

  it.each([
    ['an unknown one', { shared: true }, 'native.shared'],
    ['a wrong value', { share: 1 }, 'native.share'],
    ['an unknown one of the share group', { share: { ahead: 1 } }, 'native.share.ahead'],
    ['one that is out of range', { share: { acquireAhead: -1 } }, 'native.share.acquireAhead'],
    ['no object', 'share', 'native'],
  ])('refuse %s by its name', (_name, native, path) => {
    try {
      read(native)
      expect.unreachable()
    } catch (error) {
      expect(error).toMatchObject({ code: 'BUSBAR_CONFIGURATION', problems: [{ path }] })
    }
  })

  it.each([
    ['an order', { order: 'key' }, "say order: 'none'"],
    ['a broadcast', { ephemeral: true }, 'broadcast'],
    ['exactly once', { guarantee: 'exactly-once' }, 'guarantee'],
  ] as const)('refuse a share group with %s', (_name, spec, text) => {
    expect(() => read({ share: true }, spec)).toThrow(text)
  })
})
