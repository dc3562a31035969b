import { createClient } from 'redis'
import { allHandled } from '../footprint/all-handled.ts'
import { startConsumers } from '../footprint/consumer-process.ts'

// What the plain client needs for the same: a group on each stream, a connection for each blocking read of a member, and a
// look for what other members have left behind.

const BLOCK_MS = 5_000
const IDLE_MS = 10_000

type Client = ReturnType<typeof createClient>

await startConsumers(async ({ url, topics, groups, members, keys }) => {
  const client = createClient({ url })
  await client.connect()
  const handled = allHandled(topics * groups * keys)
  for (let group = 0; group < groups; group++)
    for (let topic = 0; topic < topics; topic++) {
      const [key, name] = [`footprint:t${topic}`, `g${group}`]
      await client.xGroupCreate(key, name, '0', { MKSTREAM: true })
      for (let member = 0; member < members; member++) {
        const reader = client.duplicate()
        await reader.connect()
        void read(client, reader, { key, group: name, consumer: `member-${member}` }, handled.one)
      }
    }
  for (let topic = 0; topic < topics; topic++)
    for (let key = 0; key < keys; key++) await client.xAdd(`footprint:t${topic}`, '*', { data: '{}' })
  await handled.all
})

interface Place {
  readonly key: string
  readonly group: string
  readonly consumer: string
}

async function read(client: Client, reader: Client, place: Place, handled: () => void): Promise<never> {
  const { key, group, consumer } = place
  for (;;) {
    const found = await reader.xReadGroup(group, consumer, { key, id: '>' }, { BLOCK: BLOCK_MS, COUNT: 100 })
    const ids = (found as readonly { messages: readonly { id: string }[] }[] | null)?.[0]?.messages.map(({ id }) => id)
    if (ids !== undefined) {
      await client.xAck(key, group, ids)
      for (let count = ids.length; count > 0; count--) handled()
    }
    await reader.xAutoClaim(key, group, consumer, IDLE_MS, '0-0')
  }
}
