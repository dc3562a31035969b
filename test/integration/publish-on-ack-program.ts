// What a consumer process of sqlite-publish-on-ack.test.ts does: one message in, one out, with the ack.
import type { ConsumeOptions } from 'busbar'
import type { ChildProgram } from 'busbar/testing'

export const run: ChildProgram<Pick<ConsumeOptions, 'publishOnAck' | 'guarantee'>> = (bus, _record, how) => {
  bus.consume(
    'inputs',
    async (message, ctx) => {
      await new Promise((resolve) => setImmediate(resolve))
      await ctx.publish('outputs', message.id, { key: message.key })
    },
    { ...how, group: 'g', concurrency: 20 },
  )
}
