import { createBus, defineEvent } from 'busbar'
import { claimCheck } from 'busbar/claim-check'
import { memory } from 'busbar/memory'
import { fileClaimStore } from 'busbar/stores/file'

const PhotoTaken = defineEvent<{ title: string; pixels: string }>('photos.taken')

const store = fileClaimStore({ folder: './claims' })
const claims = claimCheck({ store, aboveBytes: 100_000 })
const transport = memory()
const bus = createBus({
  service: 'photos',
  transport,
  publishMiddleware: [claims.publishMiddleware],
  codecs: [claims.codec],
})
bus.consume(PhotoTaken, ({ data }) => console.log(`${data.title}: ${data.pixels.length} pixels`))
await bus.start()
const handled = bus.events.once('ack')
await bus.publish(PhotoTaken, { title: 'harbour', pixels: '#'.repeat(2_000_000) })
await handled

const [stored] = transport.messages('photos.taken')
console.log(`the broker has ${stored?.body?.byteLength ?? 0} bytes of it`)
// Run this daily. 30 days is longer than any message is kept here, dead letters included.
await store.deleteBefore(new Date(Date.now() - 30 * 86_400_000))
await bus.close()
