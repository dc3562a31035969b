import { setTimeout as sleep } from 'node:timers/promises'
import { createBus } from 'busbar'
import type { Bus, BusExtension, ExtensionHealth } from 'busbar'
import { memory } from 'busbar/memory'

/** Publishes the orders that another system puts into an inbox. */
class OrderImporter implements BusExtension {
  readonly name = 'order-importer'
  readonly #inbox: string[]
  #stop = new AbortController()
  #running: Promise<void> | undefined
  #imported = 0
  #trouble: string | undefined

  constructor(inbox: string[]) {
    this.#inbox = inbox
  }

  start(bus: Bus): void {
    this.#stop = new AbortController() // start() may be called again after close()
    this.#running = this.#run(bus, this.#stop.signal)
  }

  async #run(bus: Bus, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        const [orderId] = this.#inbox
        if (orderId === undefined) await sleep(20, undefined, { signal })
        else {
          await bus.publish('orders.placed', { orderId })
          this.#inbox.shift() // only when the broker has it
          this.#imported++
          this.#trouble = undefined
        }
      } catch (error) {
        if (signal.aborted) return
        this.#trouble = String(error)
        await sleep(1_000, undefined, { signal }).catch(() => {})
      }
    }
  }

  async drain(): Promise<void> {
    this.#stop.abort() // takes no other order,
    await this.#running // and ends when this one is published
  }

  close(): void {
    console.log('inbox closed')
  }

  health(): ExtensionHealth {
    return this.#trouble === undefined ? { status: 'ok' } : { status: 'degraded', detail: this.#trouble }
  }

  snapshot(): unknown {
    return { imported: this.#imported, waiting: this.#inbox.length }
  }
}

const bus = createBus({ service: 'billing', transport: memory() })
await bus.use(new OrderImporter(['ord-1', 'ord-2']))

bus.consume('orders.placed', (message) => console.log('charge', message.data))
const second = bus.events.once('ack', { filter: ({ message }) => String(message.body).includes('ord-2') })

await bus.start() // starts the importer, too
await second
console.log((await bus.health()).extensions)
console.log(bus.snapshot().extensions[0]?.data)
await bus.close() // drains and closes it
