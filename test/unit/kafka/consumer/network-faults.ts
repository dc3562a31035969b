import type { Random } from '../../../../src/testing/random.ts'
import type { Fault } from '../sim/script.ts'

/** What a network may do to any request, for chaos to choose from. */
export function networkFaults(random: Random): readonly Fault[] {
  return [
    { do: 'drop' },
    { do: 'dropAnswer' },
    { do: 'close' },
    { do: 'closeAfter' },
    { do: 'split' },
    { do: 'delay', ms: random.integer(1, 5_000) },
    { do: 'delayAnswer', ms: random.integer(1, 5_000) },
  ]
}
