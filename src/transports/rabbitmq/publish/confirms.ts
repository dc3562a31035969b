import type { PublishJob } from './publish-job.ts'

/** Consecutive messages of one job, which have consecutive delivery tags. */
interface Run {
  readonly job: PublishJob
  index: number
  tag: number
  count: number
  /** Tags that were confirmed out of order. */
  early: Set<number> | undefined
}

type Done = (job: PublishJob, index: number) => void

const COMPACT_AT = 256

/**
 * Which messages of one channel the broker has not answered. Tags count up from 1, one for each publish; the broker
 * confirms single ones, or all up to one, in any order.
 */
export class Confirms {
  #runs: Run[] = []
  #head = 0
  #tag = 0
  size = 0

  sent(job: PublishJob, index: number): void {
    const tag = ++this.#tag
    this.size++
    const last = this.#head < this.#runs.length ? this.#runs.at(-1) : undefined
    if (last !== undefined && last.job === job && last.index + last.count === index) last.count++
    else this.#runs.push({ job, index, tag, count: 1, early: undefined })
  }

  /** Calls `done` for each message covered by this answer, in order. */
  confirm(tag: number, multiple: boolean, done: Done): void {
    const first = this.#runs[this.#head]
    if (first === undefined) return
    if (multiple || first.tag === tag) this.#confirmUpTo(tag, done)
    else this.#confirmEarly(tag, done)
    this.#trim()
  }

  #confirmUpTo(tag: number, done: Done): void {
    for (let run = this.#runs[this.#head]; run !== undefined && run.tag <= tag; run = this.#runs[this.#head]) {
      while (run.count > 0 && run.tag <= tag) {
        const { index } = run
        if (!this.#advance(run)) {
          this.size--
          done(run.job, index)
        }
      }
      if (run.count > 0) return
      this.#head++
    }
  }

  #confirmEarly(tag: number, done: Done): void {
    for (let at = this.#head; at < this.#runs.length; at++) {
      const run = this.#runs[at] as Run
      if (tag >= run.tag + run.count) continue
      const early = (run.early ??= new Set())
      if (tag < run.tag || early.has(tag)) return
      early.add(tag)
      this.size--
      done(run.job, run.index + (tag - run.tag))
      return
    }
  }

  /** Moves past the first message of a run; true when it was confirmed before. */
  #advance(run: Run): boolean {
    const was = run.early?.delete(run.tag) === true
    run.tag++
    run.index++
    run.count--
    return was
  }

  #trim(): void {
    for (let run = this.#runs[this.#head]; run !== undefined; run = this.#runs[this.#head]) {
      while (run.count > 0 && run.early?.has(run.tag) === true) this.#advance(run)
      if (run.count > 0) break
      this.#head++
    }
    if (this.#head === this.#runs.length || this.#head >= COMPACT_AT) {
      this.#runs = this.#runs.slice(this.#head)
      this.#head = 0
    }
  }

  /** The oldest matching unanswered message. Rarely used: only for returned messages. */
  find(fits: (job: PublishJob, index: number) => boolean): { job: PublishJob; index: number } | undefined {
    for (let at = this.#head; at < this.#runs.length; at++) {
      const run = this.#runs[at] as Run
      for (let offset = 0; offset < run.count; offset++) {
        const index = run.index + offset
        if (run.early?.has(run.tag + offset) !== true && fits(run.job, index)) return { job: run.job, index }
      }
    }
    return undefined
  }

  /** The channel is closed: calls `done` for everything unanswered and starts over. */
  drain(done: Done): void {
    const runs = this.#runs.slice(this.#head)
    this.#runs = []
    this.#head = 0
    this.#tag = 0
    this.size = 0
    for (const run of runs)
      for (let offset = 0; offset < run.count; offset++)
        if (run.early?.has(run.tag + offset) !== true) done(run.job, run.index + offset)
  }
}
