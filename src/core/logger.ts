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
