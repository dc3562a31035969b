// BUS_URL=sqlite:./busbar.db node redrive.js orders.placed billing         shows what would be sent back
// BUS_URL=sqlite:./busbar.db node redrive.js orders.placed billing --go    sends it back
import { createBus } from 'busbar'
import { transportFromUrl } from 'busbar/url'

const [topic, group, go] = process.argv.slice(2)
if (topic === undefined || group === undefined) throw new Error('usage: redrive <topic> <group> [--go]')

const transport = await transportFromUrl(process.env['BUS_URL'] ?? 'sqlite:./busbar.db')
const bus = createBus({ service: 'redrive', transport })
// Also says when the topic has no such group.
bus.events.on('warning', ({ detail }) => console.log(detail))
await bus.start()

try {
  const letters = bus.deadLetters(topic, group)
  for (const { message, reason, attempts, errorName, errorMessage } of await letters.list({ limit: 20 }))
    console.log(`${message.id}: ${reason} after ${attempts} attempts, ${errorName}: ${errorMessage}`)

  // Whatever was sent back three times and failed again needs more than another redrive.
  const options = { maxRedrives: 3, ratePerSecond: 50 }
  if (go === '--go') {
    const { redriven, failed } = await letters.redrive(options)
    console.log(`${redriven} sent back to ${group}, ${failed.length} not confirmed`)
  } else {
    const { matched } = await letters.redrive({ ...options, dryRun: true })
    console.log(`${matched} would be sent back to ${group}: add --go to do it`)
  }
} finally {
  await bus.close()
}
