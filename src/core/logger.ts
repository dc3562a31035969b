/** Where Busbar writes its log lines: any logger with pino's call shape (pino itself, or `console` behind four lambdas). */
export interface Logger {
  debug(fields: object, message: string): void
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}

function ignore(): void {}

/** Logs nothing, as `logger: false` does. What happens is still visible through `bus.events`. */
export const silentLogger: Logger = Object.freeze({ debug: ignore, info: ignore, warn: ignore, error: ignore })
