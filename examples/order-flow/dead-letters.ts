import type { Bus, DeadLetter } from 'busbar'
import { TOPICS } from './events.ts'

export interface FoundLetter {
  readonly topic: string
  /** The group that could not handle it. */
  readonly group: string
  readonly orderId: string
  readonly letter: DeadLetter
}

/** Dead letters of this run, of all services. The topic name contains their group: `<topic>.<group>.dlq`. */
export async function findDeadLetters(bus: Bus, run: string): Promise<readonly FoundLetter[]> {
  const found: FoundLetter[] = []
  for (const info of await bus.admin().topics()) {
    const match = /^(.+)\.([^.]+)\.dlq$/.exec(info.topic)
    const [, topic, group] = match ?? []
    if (topic === undefined || group === undefined || !topic.startsWith(`${TOPICS}.`)) continue
    for (const letter of await bus.deadLetters(topic, group).list({ filter: (each) => isOfRun(each, run) }))
      found.push({ topic, group, orderId: letter.message.key ?? '', letter })
  }
  return found
}

/** Sends them back to the group that failed, and to no other. Resolves with the number sent. */
export async function redrive(bus: Bus, run: string, letters: readonly FoundLetter[]): Promise<number> {
  let redriven = 0
  const places = new Map(letters.map(({ topic, group }) => [`${topic} ${group}`, { topic, group }]))
  for (const { topic, group } of places.values()) {
    const report = await bus.deadLetters(topic, group).redrive({ filter: (letter) => isOfRun(letter, run) })
    const failure = report.failed[0]
    if (failure !== undefined) throw failure.error
    redriven += report.redriven
  }
  return redriven
}

function isOfRun(letter: DeadLetter, run: string): boolean {
  return letter.message.correlationId?.startsWith(`${run}/`) ?? false
}
