import type { Reporter, TestCase, TestModule } from 'vitest/node'

const MINUTE_MS = 60_000

/** What a test file is doing, and since when. */
interface Running {
  readonly file: string
  readonly startedAt: number
  doing: string
  since: number
}

/**
 * Reports files that run long, and ends a run in which one file never ends. Vitest prints a file when it has ended, and
 * its limits don't cover imports, synchronous loops, or a broker that costs each test its whole time limit: without
 * this, such a run hangs silently.
 */
export class StuckFileReporter implements Reporter {
  readonly #limitMs: number
  readonly #running = new Map<string, Running>()
  #timer: NodeJS.Timeout | undefined

  constructor(limitMs: number) {
    this.#limitMs = limitMs
  }

  onTestRunStart(): void {
    this.#timer = setInterval(() => this.#look(), MINUTE_MS)
    this.#timer.unref()
  }

  onTestRunEnd(): void {
    clearInterval(this.#timer)
  }

  onTestModuleQueued(module: TestModule): void {
    const now = Date.now()
    this.#running.set(module.id, { file: module.relativeModuleId, startedAt: now, doing: 'importing', since: now })
  }

  onTestModuleEnd(module: TestModule): void {
    this.#running.delete(module.id)
  }

  onTestCaseReady(test: TestCase): void {
    this.#does(test.module, test.fullName)
  }

  onTestCaseResult(test: TestCase): void {
    this.#does(test.module, `after ${test.fullName}`)
    // The file may continue for minutes, and what follows may never end.
    if (test.result().state !== 'failed') return
    const { errors = [] } = test.result()
    console.error(`FAILED ${test.module.relativeModuleId}: ${test.fullName}: ${errors[0]?.message ?? 'no error'}`)
  }

  #does(module: TestModule, doing: string): void {
    const running = this.#running.get(module.id)
    if (running === undefined) return
    running.doing = doing
    running.since = Date.now()
  }

  #look(): void {
    const now = Date.now()
    for (const { file, startedAt, doing, since } of this.#running.values()) {
      if (now - startedAt < MINUTE_MS) continue
      console.error(`running for ${seconds(now - startedAt)}: ${file}; for ${seconds(now - since)}: ${doing}`)
      if (now - startedAt < this.#limitMs) continue
      console.error(`${file} did not end within ${seconds(this.#limitMs)}: the run is ended`)
      // Ending the run in an orderly way would wait for that very file.
      process.exit(1)
    }
  }
}

function seconds(ms: number): string {
  return `${Math.round(ms / 1000)} s`
}
