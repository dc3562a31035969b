import { KafkaError } from '../../../kafka/index.ts'

/** Each attempt waits for a broker by itself, so that a broker that starts again takes two or three. */
const MOST_ATTEMPTS = 5

/**
 * Makes a change of the cluster that may be made twice, again while nobody knows what became of it: the connection was lost before the
 * answer. The client itself repeats only what was certainly not carried out. Rejects with the last error.
 */
export async function repeatInDoubt<T>(attempt: () => Promise<T>): Promise<T> {
  for (let left = MOST_ATTEMPTS - 1; ; left--) {
    try {
      return await attempt()
    } catch (error) {
      if (left === 0 || !(error instanceof KafkaError) || error.outcome !== 'unknown') throw error
    }
  }
}
