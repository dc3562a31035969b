// What a consumer process of `rabbitmq-attempts.test.ts` does.
import type { ChildProgram } from 'busbar/testing'

export interface AttemptArgument {
  readonly topic: string
  readonly group: string
  /** The process ends as soon as this attempt starts, before it can note anything. */
  readonly diesAt: number | undefined
}

/** Id of the records of type `failed` that mean the note of an attempt, which the broker did not take. */
export const NOTE = 'note'
/** Time between two attempts. */
export const RETRY_MS = 5_000

/** Each attempt fails at once, so that nothing but its note says that it was made. */
export const run: ChildProgram<AttemptArgument> = (bus, record, { topic, group, diesAt }) => {
  bus.events.on('retry', ({ message, attempt }) => record('failed', message.id, { attempt }))
  bus.events.on('error', ({ doing }) => {
    if (doing.startsWith('noting attempt')) record('failed', NOTE)
  })
  bus.consume(
    topic,
    (message, { attempt }) => {
      record('start', message.id, { attempt })
      if (attempt === diesAt) process.kill(process.pid, 'SIGKILL')
      throw new Error('again')
    },
    { group, retry: { attempts: 20, backoff: 'fixed', baseMs: RETRY_MS } },
  )
  return undefined
}
