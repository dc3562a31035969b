import type { DeliveryHistory } from '../transport.ts'

/** What is known of a message of a partition when it is handed out. */
export interface AttemptState {
  /** How its deliveries have ended so far; for one that is out: before this delivery. */
  readonly history: DeliveryHistory
  /** Attempts used, including one that is running. */
  readonly used: number
  /** A handler was running when this was written. */
  readonly running: boolean
  /** No attempt before this time, in ms since 1970. */
  readonly notBefore: number | undefined
  /** Later messages of its key wait for `notBefore` too. */
  readonly inOrder: boolean
}

/**
 * How a partition came to us: `clean`: handed over in order, or new. `ours`: we were the last to own it. `taken`: from a
 * member that died, or was cut off.
 */
export type Acquired = 'clean' | 'ours' | 'taken'

export const NEW: AttemptState = Object.freeze({
  history: 'new',
  used: 0,
  running: false,
  notBefore: undefined,
  inOrder: false,
})
export const RETURNED: AttemptState = Object.freeze({ ...NEW, history: 'returned' })
export const UNKNOWN: AttemptState = Object.freeze({ ...NEW, history: 'unknown' })

/** A message that was published with a delay, and is read before its time: no member can have handed it out. */
export function early(known: AttemptState, dueAt: number): AttemptState {
  return { ...(known.history !== 'died' && known.used === 0 ? NEW : known), notBefore: dueAt, inOrder: false }
}

/** What the owner before has written of a message that was out, as its next owner sees it. */
export function inherited<State extends AttemptState>(state: State, how: Acquired): State {
  const left = { ...state, running: false }
  // Nothing was out when it was freed.
  if (how === 'clean') return left
  // Lost while its handler was running here: that attempt does not count.
  if (how === 'ours') return { ...left, history: 'returned', used: state.running ? state.used - 1 : state.used }
  // It may have been handed out, and its handler may have begun, since this was written.
  return { ...left, history: state.running || state.history === 'died' ? 'died' : 'unknown' }
}

/** `used`: attempts that have ended here, by place. They may be more than was written, which is older. */
export function raised<State extends AttemptState>(
  state: State,
  place: number,
  used: ReadonlyMap<number, number>,
): State {
  const here = used.get(place) ?? 0
  return here > state.used ? { ...state, used: here } : state
}
