// What a consumer process of kafka-transport-share.test.ts does: each message kills it.
import type { ChildProgram } from 'busbar/testing'

export const run: ChildProgram<{ readonly topic: string; readonly group: string }> = (
  bus,
  record,
  { topic, group },
) => {
  bus.events.on('deadLetter', ({ message }) => record('rejected', message.id))
  bus.consume(
    topic,
    (message, { attempt }) => {
      record('start', message.id, { attempt })
      process.kill(process.pid, 'SIGKILL')
    },
    { group, order: 'none', retry: { attempts: 4 }, native: { share: true } },
  )
  return undefined
}
