import { createClient } from 'redis'
import { startConsumers } from '../footprint/consumer-process.ts'

// What the plain client needs for the same: a group on each stream, a connection for each blocking read, and a look for what
// other members have left behind.

const BLOCK_MS = 5_000
const IDLE_MS = 10_000

await startConsumers(async ({ url, topics, groups }) => {
  const client = createClient({ url })
  await client.connect()
  for (let group = 0; group < groups; group++)
    for (let topic = 0; topic < topics; topic++) {
      const [key, name] = [`footprint:t${topic}`, `g${group}`]
      await client.xGroupCreate(key, name, '0', { MKSTREAM: true })
      const reader = client.duplicate()
      await reader.connect()
      void read(reader, key, name)
    }
})

async function read(reader: ReturnType<typeof createClient>, key: string, group: string): Promise<never> {
  for (;;) {
    await reader.xReadGroup(group, 'one', { key, id: '>' }, { BLOCK: BLOCK_MS, COUNT: 100 })
    await reader.xAutoClaim(key, group, 'one', IDLE_MS, '0-0')
  }
}
