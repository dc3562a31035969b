import { InvalidOptionsError } from '../errors.ts'
import { kindOf, OptionsReader, shown } from '../options-reader.ts'
import type { KnownNames } from '../options-reader.ts'

const KNOWN: KnownNames = {
  names: ['topic', 'partition'],
  renamed: { partitions: 'write { topic, partition } for each of them' },
}

/** Throws an {@link InvalidOptionsError} if these are no partitions. `call` is what was called with them. */
export function checkPartitions(call: string, partitions: unknown): void {
  if (!isIterable(partitions)) {
    const problem = `are ${kindOf(partitions)}: give an array of { topic, partition }, or nothing for all`
    throw new InvalidOptionsError(call, [{ option: 'partitions', problem }])
  }
  for (const each of partitions) {
    const reader = new OptionsReader(call, each, KNOWN)
    readPartition(reader)
    reader.done()
  }
}

/** Throws an {@link InvalidOptionsError} if it is no offset of a partition. */
export function checkPlace(call: string, place: unknown): void {
  const reader = new OptionsReader(call, place, { ...KNOWN, names: [...KNOWN.names, 'offset'] })
  readPartition(reader)
  readWhole(reader, 'offset')
  reader.done()
}

function readPartition(reader: OptionsReader): void {
  const topic = reader.raw('topic')
  if (typeof topic !== 'string' || topic === '') {
    reader.problem('topic', `is ${shown(topic)}: give the name of a topic`)
  }
  readWhole(reader, 'partition')
}

function readWhole(reader: OptionsReader, name: string): void {
  const value = reader.raw(name)
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return
  reader.problem(name, `is ${shown(value)}: give a whole number of 0 or more`)
}

function isIterable(value: unknown): value is Iterable<unknown> {
  return typeof value === 'object' && value !== null && Symbol.iterator in value
}
