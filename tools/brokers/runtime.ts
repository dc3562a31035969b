/** How a broker is controlled: the same methods for processes and containers. */
export interface Runtime {
  pid(): number | undefined
  /** Starts what is not running and resolves when it is ready. */
  start(): Promise<void>
  kill(): Promise<void>
  halt(): Promise<void>
  pause(): Promise<void>
  resume(): Promise<void>
  logs(lines: number): Promise<string>
  /** Ends everything and removes the data. */
  destroy(): Promise<void>
}
