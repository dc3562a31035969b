import { createBus, defineEvent } from 'busbar'
import { memory } from 'busbar/memory'
import { z } from 'zod'

const Reading = defineEvent('sensors.read', z.object({ sensor: z.string(), celsius: z.number() }), {
  key: (reading) => reading.sensor,
})

const bus = createBus({ service: 'archive', transport: memory() })

/** Stands for one INSERT of many rows. */
async function insert(rows: readonly { sensor: string; celsius: number }[]): Promise<readonly string[]> {
  console.log(`inserting ${rows.length} rows`)
  return rows.map((row) => (row.celsius < -273 ? 'below absolute zero' : 'ok'))
}

bus.consume(
  Reading,
  async (messages) => {
    const results = await insert(messages.map((message) => message.data))
    // One result for each message: nothing for success, an error for a failure. Throwing would fail them all.
    return results.map((result) => (result === 'ok' ? undefined : new Error(result)))
  },
  { batch: { size: 100, timeoutMs: 20 }, concurrency: 2, retry: { attempts: 1 } },
)

await bus.start()
const died = bus.events.once('deadLetter')
await bus.publishMany(Reading, [
  { data: { sensor: 'attic', celsius: 31 } },
  { data: { sensor: 'cellar', celsius: -300 } },
  { data: { sensor: 'cellar', celsius: 12 } },
])
const { message, error } = await died
console.log(`dead letter of ${message.key}: ${error instanceof Error ? error.message : 'unknown'}`)
await bus.close()
