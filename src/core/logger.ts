/** Where Busbar writes its log lines: pino, or any logger whose methods take fields and then a message. */
export interface Logger {
  /** Details, such as each attempt to connect. */
  debug(fields: object, message: string): void
  /** Normal operation, such as a new connection. */
  info(fields: object, message: string): void
  /** Something needs attention or goes away by itself, such as a lost connection. */
  warn(fields: object, message: string): void
  /** Something failed for good, such as a message that was lost. */
  error(fields: object, message: string): void
}

function ignore(): void {}

/** Logs nothing, as `logger: false` does. `bus.events` still reports everything. */
export const silentLogger: Logger = Object.freeze({ debug: ignore, info: ignore, warn: ignore, error: ignore })

/** Logs an error of the user's own code (a listener, an observer). Never throws: the logger is the user's code, too. */
export function logSafely(logger: Logger, fields: object, message: string): void {
  try {
    logger.error(fields, message)
  } catch (error) {
    process.emitWarning(`The logger of a bus threw: ${String(error)}`, { code: 'BUSBAR_LOGGER' })
  }
}
