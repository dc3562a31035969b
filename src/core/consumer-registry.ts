import type { BusConsumer } from './bus-consumer.ts'
import { ConfigurationError } from './errors.ts'
import { patternsOverlap } from './topic.ts'
import { allOrFirstError } from './util/all-or-first-error.ts'

/** The consumers of a bus, by group. */
export class ConsumerRegistry implements Iterable<BusConsumer> {
  readonly #groups = new Map<string, Set<BusConsumer>>()

  /** Throws `ConfigurationError` for one that would share the messages of another at random. */
  add(consumer: BusConsumer): void {
    this.#refuseOverlap(consumer)
    const group = this.#groups.get(keyOf(consumer))
    if (group === undefined) this.#groups.set(keyOf(consumer), new Set([consumer]))
    else group.add(consumer)
  }

  delete(consumer: BusConsumer): void {
    const group = this.#groups.get(keyOf(consumer))
    if (group?.delete(consumer) === true && group.size === 0) this.#groups.delete(keyOf(consumer))
  }

  /** Starts all of them, and retries what may pass until `endsAt` (`clock.monotonic()`). */
  async start(endsAt: number): Promise<void> {
    const consumers = [...this]
    const start = async (consumer: BusConsumer): Promise<void> => {
      consumer.endsAt = endsAt
      try {
        await consumer.start()
      } catch (error) {
        // The others need not wait for a broker when the start has failed.
        for (const other of consumers) other.giveUp(error)
        throw error
      }
    }
    await allOrFirstError(consumers.map(start))
  }

  *[Symbol.iterator](): Generator<BusConsumer> {
    for (const group of this.#groups.values()) yield* group
  }

  #refuseOverlap(consumer: BusConsumer): void {
    for (const other of this.#groups.get(keyOf(consumer)) ?? [])
      if (!other.hasEnded && patternsOverlap(other.topic, consumer.topic))
        throw new ConfigurationError(`The consumer of "${consumer.topic}"`, [
          {
            path: 'group',
            message: `"${consumer.group}" has a consumer of "${other.topic}" on this bus already: each message would reach one of the two, at random. Give each its own group, or raise concurrency`,
          },
        ])
  }
}

function keyOf({ transportName, group }: BusConsumer): string {
  return `${group} ${transportName}`
}
