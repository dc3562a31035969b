import type { Partition } from './group-driver.ts'

/** A partition as one string, to be used as a key. Topics contain no slash. */
export function partitionKey(topic: string, partition: number): string {
  return `${topic}/${partition}`
}

export function keyOf({ topic, partition }: Partition): string {
  return partitionKey(topic, partition)
}
