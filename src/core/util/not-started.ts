/** Services of buses with consumers that were not started, with the number of buses. Keeps no bus alive. */
const waiting = new Map<string, number>()
let isWatching = false

/**
 * Reports a bus that has consumers and waits for `start()`. Call the returned function when it is started or closed; if the
 * process ends without that, a process warning names the service. Without it, such a program ends as if all were well.
 */
export function waitsForStart(service: string): () => void {
  waiting.set(service, (waiting.get(service) ?? 0) + 1)
  if (!isWatching) {
    isWatching = true
    process.once('beforeExit', warn)
  }
  let isOver = false
  return () => {
    if (isOver) return
    isOver = true
    const left = (waiting.get(service) ?? 0) - 1
    if (left > 0) waiting.set(service, left)
    else waiting.delete(service)
  }
}

function warn(): void {
  if (waiting.size === 0) return
  const services = [...waiting.keys()].map((service) => `"${service}"`).join(', ')
  process.emitWarning(
    `The process ends, and these buses have consumers but were never started: ${services}. Did you forget await bus.start()?`,
    { code: 'BUSBAR_NOT_STARTED' },
  )
}
