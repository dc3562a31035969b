import { InvalidOptionsError } from '../errors.ts'
import type { OptionProblem } from '../errors.ts'
import { kindOf, shown } from '../options-reader.ts'
import type { TopicPartition } from './partition-set.ts'

/**
 * The partitions that a call was given, which may be iterable only once. Throws an {@link InvalidOptionsError} if they are none. What else
 * they have, as a batch or a position has, is not looked at. `call` is what was called with them.
 */
export function partitionsOf(call: string, partitions: Iterable<TopicPartition>): readonly TopicPartition[] {
  if (!isIterable(partitions)) {
    const problem = `are ${kindOf(partitions)}: give an array of { topic, partition }, or nothing for all`
    throw new InvalidOptionsError(call, [{ option: 'partitions', problem }])
  }
  const given = [...partitions]
  refuse(call, given.flatMap(problemsOf))
  return given
}

/** Throws an {@link InvalidOptionsError} if it is no offset of a partition. */
export function checkPlace(call: string, place: TopicPartition & { readonly offset: number }): void {
  refuse(call, [...problemsOf(place), ...problemsOfWhole('offset', place?.offset)])
}

function problemsOf(given: unknown): readonly OptionProblem[] {
  if (typeof given !== 'object' || given === null) {
    return [{ option: 'partitions', problem: `have ${kindOf(given)}: give { topic, partition }` }]
  }
  const { topic, partition, partitions } = given as Readonly<Record<string, unknown>>
  const isTopic = typeof topic === 'string' && topic !== ''
  const ofTopic = isTopic ? [] : [{ option: 'topic', problem: `is ${shown(topic)}: give the name of a topic` }]
  if (partition !== undefined || partitions === undefined)
    return [...ofTopic, ...problemsOfWhole('partition', partition)]
  const problem = 'is not an option: write { topic, partition } for each of them'
  return [...ofTopic, { option: 'partitions', problem }]
}

function problemsOfWhole(option: string, value: unknown): readonly OptionProblem[] {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return []
  return [{ option, problem: `is ${shown(value)}: give a whole number of 0 or more` }]
}

function refuse(call: string, problems: readonly OptionProblem[]): void {
  if (problems.length > 0) throw new InvalidOptionsError(call, problems)
}

function isIterable(value: unknown): value is Iterable<unknown> {
  return typeof value === 'object' && value !== null && Symbol.iterator in value
}
