/** What a broker says about itself at one moment. */
export interface Reading {
  /** Counters since its start: what is shown is their growth, in a second or until the consumers had started. */
  readonly counters: Readonly<Record<string, number>>
  /** What is there. */
  readonly objects: Readonly<Record<string, number>>
  readonly connections: number
}

/** Reads a broker. Its own traffic is in the counters: a few requests in each measurement. */
export interface Meter extends AsyncDisposable {
  read(): Promise<Reading>
  /** Where clients must connect, if that is not the broker itself. */
  readonly url?: string
}
