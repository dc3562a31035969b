// What each consumer process of the chaos soak does. The memory variant calls it in the test's own process.
import { existsSync } from 'node:fs'
import { setTimeout as wait } from 'node:timers/promises'
import type { ConsumeOptions, Message } from 'busbar'
import type { ChildProgram } from 'busbar/testing'
import type { Task } from './story.ts'

export interface ConsumerArgument {
  readonly topic: string
  readonly options: ConsumeOptions & { readonly batch?: undefined }
  /** When this file is there, poison is none any more. */
  readonly healed: string
}

export const run: ChildProgram<ConsumerArgument> = (bus, record, { topic, options, healed }) => {
  bus.events.on('ack', ({ message, attempt }) => record('acked', message.id, { attempt }))
  bus.consume(
    topic,
    async (message, ctx) => {
      const { attempt } = ctx
      const { id, key, data } = message as Message<Task>
      record('start', id, { key, attempt })
      if (data.workMs > 0) await wait(data.workMs)
      if (data.kind === 'poison' && !existsSync(healed)) {
        record('rejected', id, { key, attempt })
        ctx.reject('poison')
      }
      if (attempt <= data.fails) ctx.retry({ delayMs: data.retryMs })
      record('done', id, { key, attempt })
    },
    options,
  )
  return undefined
}
