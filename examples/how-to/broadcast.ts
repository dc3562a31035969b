import { createBus } from 'busbar'
import type { Bus } from 'busbar'
import { memory, memoryBroker } from 'busbar/memory'

const broker = memoryBroker()

/** Two of these stand for two processes of one service. */
function instance(name: string): Bus {
  const bus = createBus({ service: 'prices', transport: memory({ broker }) })
  const cache = new Map([['MUG-BLUE', 1290]])
  bus.consume(
    'prices.changed',
    (message) => {
      cache.delete(String(message.data))
      console.log(`${name} forgot the price of ${String(message.data)}, and has ${cache.size} left`)
    },
    { broadcast: true },
  )
  return bus
}

const [first, second] = [instance('first'), instance('second')]
await first.start()
await second.start()

const handled = [first.events.once('ack'), second.events.once('ack')]
await first.publish('prices.changed', 'MUG-BLUE')
await Promise.all(handled)
await first.close()
await second.close()
