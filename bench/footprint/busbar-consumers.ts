import { createBus } from 'busbar'
import { transportFromUrl } from 'busbar/url'
import { startConsumers } from './consumer-process.ts'

// One bus with a keyed consumer for each topic and group: everything else as it is by default.
await startConsumers(async ({ url, topics, groups }) => {
  const bus = createBus({ service: 'footprint', transport: await transportFromUrl(url) })
  for (let group = 0; group < groups; group++)
    for (let topic = 0; topic < topics; topic++) bus.consume(`footprint.t${topic}`, () => {}, { group: `g${group}` })
  await bus.start()
})
