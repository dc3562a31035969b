/** Where Busbar writes its log lines: pino, or any logger whose methods take fields and then a message. */
export interface Logger {
  debug(fields: object, message: string): void
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
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
