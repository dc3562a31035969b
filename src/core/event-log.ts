import type { Clock } from './clock.ts'
import { describeError } from './util/describe-error.ts'
import type { BusEventMap, BusEventName, BusEvents } from './events.ts'
import { silentLogger } from './logger.ts'
import type { Logger } from './logger.ts'
import type { EncodedMessage } from './message.ts'
import { StderrLogger } from './stderr-logger.ts'

type Level = keyof Logger

/** How one kind of event is logged. */
interface Line<Name extends BusEventName> {
  readonly level: Level | ((event: BusEventMap[Name]) => Level)
  readonly text: (event: BusEventMap[Name]) => string
  /** Printed to stderr when no logger was given. */
  readonly printed?: boolean
  /** May come for every message while something is down: only the first of each interval are logged, the rest counted. */
  readonly many?: boolean
}

const BURST = 20
const BURST_MS = 10_000

// No event that every message has is logged: `delivery`, `ack` and `published` must cost nothing.
const LINES: { readonly [Name in BusEventName]?: Line<Name> } = {
  connecting: {
    level: 'warn',
    text: ({ transport, attempt, error, delayMs, giveUpInMs }) =>
      `the broker of transport "${transport}" can't be reached yet (attempt ${attempt}, the next one in ${delayMs} ms, start() gives up in ${Math.round(giveUpInMs / 1000)} s): ${error.message}`,
    printed: true,
  },
  connect: { level: 'info', text: ({ transport }) => `transport "${transport}" is connected` },
  disconnect: {
    level: ({ planned }) => (planned ? 'debug' : 'warn'),
    text: ({ transport, planned, reason }) =>
      planned ? `transport "${transport}" is closed` : `transport "${transport}" lost its connection: ${reason}`,
    printed: true,
  },
  reconnect: {
    level: 'info',
    text: ({ transport, downMs }) => `transport "${transport}" is connected again after ${Math.round(downMs)} ms`,
    printed: true,
  },
  rebalance: {
    level: 'debug',
    text: ({ group, assigned, revoked }) =>
      `group "${group}" was rebalanced: ${assigned.length} partitions assigned, ${revoked.length} revoked`,
  },
  publishFailed: {
    level: 'warn',
    text: ({ message, error }) => `publishing ${message.id} to "${message.topic}" failed: ${error.message}`,
    many: true,
  },
  bufferFull: {
    level: 'warn',
    text: ({ transport, bufferedBytes }) =>
      `the publish buffer of transport "${transport}" is full (${bufferedBytes} bytes): publish waits for room`,
    many: true,
  },
  retry: {
    level: 'warn',
    text: ({ message, attempt, error, delayMs }) =>
      `attempt ${attempt} at ${message.id} of "${message.topic}" failed, the next one follows in ${Math.round(delayMs)} ms: ${describeError(error).message}`,
    many: true,
  },
  deadLetter: {
    level: 'error',
    text: ({ message, attempt, group, reason, deadLetterTopic, error }) =>
      `message ${message.id} of "${message.topic}" was dead-lettered by group "${group}" (${reason}, attempt ${attempt}) to "${deadLetterTopic}": ${summaryOf(error)}`,
    printed: true,
  },
  drop: {
    level: 'error',
    text: ({ message, attempt, group, reason, error }) =>
      `message ${message.id} of "${message.topic}" was dropped by group "${group}" (${reason}, attempt ${attempt}): ${summaryOf(error)}`,
  },
  settleFailed: {
    level: 'error',
    text: ({ message, error }) =>
      `the outcome of message ${message.id} of "${message.topic}" could not be stored, so it is delivered again: ${error.message}`,
    many: true,
  },
  doubleSettle: {
    level: 'warn',
    text: ({ message }) =>
      `an abandoned handler of message ${message.id} of "${message.topic}" ended after all; its outcome is ignored`,
    many: true,
  },
  lost: {
    level: 'warn',
    text: ({ topic, group, count, reason }) =>
      `${count} messages of "${topic}" were taken back from group "${group}" and are delivered again: ${reason}`,
    many: true,
  },
  abandoned: {
    level: 'error',
    text: ({ message, group }) =>
      `the handler of message ${message.id} of "${message.topic}" (group "${group}") ignored its deadline and is no longer waited for`,
    many: true,
  },
  pause: { level: 'info', text: ({ topic, group, reason }) => `group "${group}" of "${topic}" is paused: ${reason}` },
  resume: { level: 'info', text: ({ topic, group }) => `group "${group}" of "${topic}" takes messages again` },
  stalled: {
    level: 'warn',
    text: ({ topic, group, reason }) => `the consumer of "${topic}" (group "${group}") has stalled: ${reason}`,
    printed: true,
  },
  recovered: {
    level: 'info',
    text: ({ topic, group }) => `the consumer of "${topic}" (group "${group}") makes progress again`,
    printed: true,
  },
  stuck: {
    level: 'error',
    text: ({ message, group, ageMs, state, queuedBehind }) =>
      `message ${message.id} of "${message.topic}" (group "${group}") has been ${state} for ${Math.round(ageMs)} ms; ${queuedBehind} messages of its key wait behind it`,
    printed: true,
  },
  loss: {
    level: 'error',
    text: ({ topic, group, count, reason }) =>
      `${count ?? 'some'} messages of "${topic}" are lost${group === undefined ? '' : ` to group "${group}"`}: ${reason}`,
    printed: true,
  },
  warning: { level: 'warn', text: ({ code, detail }) => `${code}: ${detail}`, many: true },
  error: {
    level: 'error',
    text: ({ transport, error, doing }) =>
      `${doing} failed (transport "${transport}"): ${describeError(error).message}`,
    printed: true,
    many: true,
  },
  redrive: {
    level: 'info',
    text: ({ topic, group, redriven, purged }) =>
      `dead letters of "${topic}" (group "${group}"): ${redriven} redriven, ${purged} purged`,
  },
}

/**
 * Logs the events of a bus: all of them to a given logger, or only those that cost messages to stderr. Bodies and headers are
 * never logged. Returns a function that stops it.
 */
export function logEvents(events: BusEvents, logger: Logger, clock: Clock): () => void {
  if (logger === silentLogger) return () => {}
  const offs: (() => void)[] = []
  const bursts = new Map<string, Burst>()
  const listen = <Name extends BusEventName>(name: Name, line: Line<Name>): void => {
    if (logger instanceof StderrLogger) {
      if (line.printed === true)
        offs.push(
          events.on(name, (event) => {
            if (levelOf(line, event) !== 'debug') logger.print(name, line.text(event))
          }),
        )
      return
    }
    let burst: Burst | undefined
    if (line.many === true) bursts.set(name, (burst = new Burst(name, logger, clock)))
    offs.push(
      events.on(name, (event) => {
        if (burst?.allows() !== false) logger[levelOf(line, event)](fieldsOf(name, event), line.text(event))
      }),
    )
  }
  for (const name of Object.keys(LINES) as BusEventName[]) listen(name, LINES[name] as Line<BusEventName>)
  return () => {
    for (const off of offs) off()
    for (const burst of bursts.values()) burst.flush()
    if (logger instanceof StderrLogger) logger.flush()
  }
}

/** Lets the first lines of an interval through, and counts the rest. */
class Burst {
  readonly #name: string
  readonly #logger: Logger
  readonly #clock: Clock
  #since = -Infinity
  #count = 0

  constructor(name: string, logger: Logger, clock: Clock) {
    this.#name = name
    this.#logger = logger
    this.#clock = clock
  }

  allows(): boolean {
    const now = this.#clock.monotonic()
    if (now - this.#since >= BURST_MS) {
      this.flush()
      this.#since = now
    }
    return ++this.#count <= BURST
  }

  flush(): void {
    const leftOut = this.#count - BURST
    this.#count = 0
    if (leftOut > 0)
      this.#logger.warn({ event: this.#name, leftOut }, `${leftOut} more events "${this.#name}" were not logged`)
  }
}

/** Where the files of this package are; undefined in a bundle, whose file may hold the user's code as well. */
const PACKAGE = /^(file:.*\/)core\/event-log\.[jt]s$/.exec(import.meta.url)?.[1]

/** Name, message and place of an error, in one line. The place is in the user's code. */
function summaryOf(error: unknown): string {
  const { name, message, stack } = describeError(error)
  const place = stack
    ?.split('\n')
    .map((line) => /^\s+at (?!.*\bnode:)(.+)$/.exec(line)?.[1])
    .find((frame) => frame !== undefined && !isOwn(frame))
  return `${name}: ${message}${place === undefined ? '' : ` (at ${place})`}`
}

function isOwn(frame: string): boolean {
  return (
    PACKAGE !== undefined && (frame.includes(PACKAGE) || frame.includes(decodeURIComponent(new URL(PACKAGE).pathname)))
  )
}

function levelOf<Name extends BusEventName>({ level }: Line<Name>, event: BusEventMap[Name]): Level {
  return typeof level === 'string' ? level : level(event)
}

/** The payload as plain fields: identifies a message, and explains an error. */
function fieldsOf(name: BusEventName, event: object): object {
  const fields: Record<string, unknown> = { event: name }
  for (const [key, value] of Object.entries(event)) {
    if (key === 'message') Object.assign(fields, messageFields(value as EncodedMessage))
    else if (key === 'error') fields['err'] = describeError(value)
    else if (value !== undefined) fields[key] = value
  }
  return fields
}

function messageFields({ id, topic, key, type, correlationId }: EncodedMessage): object {
  return { messageId: id, messageTopic: topic, type, ...(key !== undefined && { key }), correlationId }
}
