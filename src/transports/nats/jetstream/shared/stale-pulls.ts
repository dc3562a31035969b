import type { Session } from '../../connection/session.ts'
import type { Incoming } from '../../connection/incoming.ts'
import type { PullRequests } from '../consume/pull-requests.ts'

/** A request for what is left ends after this time, whatever the server answers. */
const TIMEOUT_MS = 1_000

/**
 * Servers before 2.10 forget a redelivery (until its ack wait is over) when they find abandoned requests, and repeat
 * another message instead. So abandoned requests are cleared before anything is handed back: the server does that
 * when it serves a later request. `receive` gets the message that this request may bring.
 */
export async function clearStalePulls(
  session: Session,
  pulls: PullRequests,
  receive: (message: Incoming) => void,
): Promise<void> {
  if (!session.ready || !session.isOlderThan(2, 10)) return
  const done = Promise.withResolvers<void>()
  const inbox = session.inbox()
  const subscription = session.subscribe(
    inbox,
    (message) => {
      if (message.reply !== '') receive(message)
      done.resolve()
    },
    () => done.resolve(),
  )
  pulls.clearStalePulls(inbox)
  const timer = session.host.clock.setTimer(TIMEOUT_MS, () => done.resolve())
  await done.promise
  timer.cancel()
  if (!session.connection.isClosed()) subscription.unsubscribe()
}
