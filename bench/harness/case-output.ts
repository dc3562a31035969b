/** What one run of one case tells the runner: the last line on its standard output, as JSON. */
export interface CaseOutput {
  readonly messages: number
  /** Of the measured part alone; warm-up and start are not in it. */
  readonly seconds: number
  /** User and system time of the whole process (all threads) in the measured part, in µs. */
  readonly cpuMicros: number
  /** Peak resident set of the process from its start, in MB. */
  readonly rssMb: number
  /** Further figures of the case: latencies, settings, counts. */
  readonly extra?: Readonly<Record<string, number | string>>
}

export function printCaseOutput(output: CaseOutput): void {
  process.stdout.write(`${JSON.stringify(output)}\n`)
}

export function parseCaseOutput(stdout: string): CaseOutput | undefined {
  const line = stdout.trimEnd().split('\n').at(-1)
  if (line === undefined || !line.startsWith('{')) return undefined
  const output = JSON.parse(line) as CaseOutput
  const numbers = [output.messages, output.seconds, output.cpuMicros, output.rssMb]
  return numbers.every((value) => Number.isFinite(value)) ? output : undefined
}
