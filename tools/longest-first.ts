import { BaseSequencer } from 'vitest/node'
import type { TestSpecification } from 'vitest/node'

/** Files that take half a minute or more on two cores, the longest first. */
const LONGEST = [
  /unit\/.*(model|chaos|random|catches|faulty-broker)\.test/,
  /conformance\/(nats|rabbitmq|kafka|sqlite|nats-2\.9)\.test/,
  /conformance\//,
  /integration\/(sqlite-order|demo|kafka-[\w.-]+)\.test/,
  /fault\//,
  /soak\//,
  /package\//,
  /integration\//,
]

/** Starts the longest files first, so that the last minutes of a run use all workers. */
export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files)
    return sorted.toSorted((a, b) => rank(a) - rank(b))
  }
}

function rank({ moduleId }: TestSpecification): number {
  const at = LONGEST.findIndex((pattern) => pattern.test(moduleId))
  return at === -1 ? LONGEST.length : at
}
