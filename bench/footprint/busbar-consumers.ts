import { createBus } from 'busbar'
import type { Bus } from 'busbar'
import { transportFromUrl } from 'busbar/url'
import { allHandled } from './all-handled.ts'
import { startConsumers } from './consumer-process.ts'
import type { ConsumerTask } from './consumer-process.ts'
import { measureHandOver, Trickle } from './hand-over.ts'
import type { HandOver, Member } from './hand-over.ts'

// Each member is a bus with a keyed consumer for each topic and group: everything else as it is by default.

/** Sent at once. */
const BATCH = 1_000
/** Of the messages that only give every key a message. */
const NO_INDEX = -1

interface Body {
  readonly index: number
}

await startConsumers(async (task) => {
  const { topics, groups, keys } = task
  let trickle: Trickle | undefined
  const handled = allHandled(topics * groups * keys)
  const open = async (): Promise<Member> => {
    const bus = await createMember(task)
    let own = 0
    for (let group = 0; group < groups; group++)
      for (let topic = 0; topic < topics; topic++)
        bus.consume(
          `footprint.t${topic}`,
          ({ data }) => {
            own++
            handled.one()
            if (group === 0) trickle?.arrived((data as Body).index)
          },
          { group: `g${group}` },
        )
    await bus.start()
    return { bus, handled: () => own }
  }
  const members = await Promise.all(Array.from({ length: task.members }, open))
  if (keys > 0) {
    const [first] = members as [Member]
    for (let topic = 0; topic < topics; topic++) await sendKeys(first, `footprint.t${topic}`, keys)
    await handled.all
  }
  return {
    async handOver(): Promise<HandOver> {
      const publisher = await createMember(task)
      await publisher.start()
      trickle = new Trickle(publisher, 'footprint.t0')
      return measureHandOver(members, trickle, open)
    },
  }
})

async function createMember({ url, options }: ConsumerTask): Promise<Bus> {
  const transport = await transportFromUrl(options === '' ? url : `${url}${url.includes('?') ? '&' : '?'}${options}`)
  return createBus({ service: 'footprint', transport })
}

async function sendKeys({ bus }: Member, topic: string, keys: number): Promise<void> {
  for (let from = 0; from < keys; from += BATCH)
    await bus.publishMany(
      topic,
      Array.from({ length: Math.min(BATCH, keys - from) }, (_, index) => ({
        data: { index: NO_INDEX } satisfies Body,
        key: `key-${from + index}`,
      })),
    )
}
