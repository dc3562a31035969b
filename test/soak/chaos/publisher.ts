// What the publisher process of the chaos soak does. The memory variant calls it in the test's own process.
import { setTimeout as wait } from 'node:timers/promises'
import { PublishError, StateError } from 'busbar'
import { seededRandom } from 'busbar/testing'
import type { ChildProgram, Random } from 'busbar/testing'
import type { Task } from './story.ts'

export interface PublisherArgument {
  readonly topic: string
  /** First part of the ids. */
  readonly service: string
  readonly seed: string
  /** Lanes with a key, and as many without one for each third of them. */
  readonly keys: number
  /** Pause between two publishes of a lane, in ms. */
  readonly everyMs: number
}

/** What goes into the `detail` of a `sent` record, as JSON. */
export interface SentDetail {
  readonly kind: Task['kind']
  readonly delayMs: number
}

export const run: ChildProgram<PublisherArgument> = (bus, record, { topic, service, seed, keys, everyMs }) => {
  const random = seededRandom(`${seed}/${service}`)
  /** One publish after the other, so that the order of a key is beyond doubt. */
  const lane = async (name: string, key: string | undefined): Promise<void> => {
    for (let number = 0; ; number++) {
      const id = `${service}-${name}-${number}`
      const task = makeTask(random)
      const delayMs = task.kind === 'plain' && random.chance(0.04) ? random.integer(200, 6_000) : 0
      record('sent', id, { key, detail: JSON.stringify({ kind: task.kind, delayMs } satisfies SentDetail) })
      try {
        await bus.publish(topic, task, { id, key, ...(delayMs > 0 ? { delayMs } : {}) })
        record('confirmed', id, { key })
      } catch (error) {
        record('failed', id, { key, detail: error instanceof PublishError ? error.outcome : 'unknown' })
        // The bus was closed: this is the end.
        if (StateError.is(error)) return
        if (!(error instanceof PublishError)) throw error
      }
      await wait(everyMs * (0.5 + random.next()))
    }
  }
  const loose = Math.ceil(keys / 3)
  return async () => {
    await Promise.all([
      ...Array.from({ length: keys }, (_, at) => lane(`k${at}`, `k${at}`)),
      ...Array.from({ length: loose }, (_, at) => lane(`u${at}`, undefined)),
    ])
  }
}

function makeTask(random: Random): Task {
  const chance = random.next()
  const plain = { kind: 'plain', workMs: random.integer(0, 3), fails: 0, retryMs: 0 } as const
  if (chance < 0.03) return { ...plain, kind: 'retry', fails: random.integer(1, 3), retryMs: random.integer(0, 800) }
  if (chance < 0.045) return { ...plain, kind: 'slow', workMs: random.integer(100, 1_200) }
  if (chance < 0.055) return { ...plain, kind: 'poison' }
  return plain
}
