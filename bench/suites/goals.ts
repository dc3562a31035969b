import { median } from '../harness/median.ts'
import type { CaseView, Goal, GoalResult, SubjectFigures } from './suite.ts'

const NOTHING: GoalResult = { actual: '', met: undefined }

function cpuOfRun(run: { readonly cpuMicros: number; readonly messages: number }): number {
  return run.cpuMicros / run.messages
}

function bestOf(view: CaseView, names: readonly string[]): SubjectFigures | undefined {
  return names
    .map((name) => view.others.get(name))
    .filter((figures) => figures !== undefined)
    .toSorted((a, b) => b.value - a.value)[0]
}

export function atLeastPerSecond(min: number): Goal {
  return {
    text: `≥ ${min.toLocaleString('en')} msg/s`,
    evaluate({ ours }) {
      if (ours === undefined) return NOTHING
      return { actual: `${Math.round(ours.value).toLocaleString('en')} msg/s`, met: ours.value >= min }
    },
  }
}

/** Against the fastest of those that ran. */
export function atLeastTimes(min: number, ...names: readonly string[]): Goal {
  return {
    text: `≥ ${Number(min.toFixed(2))}× ${names.length > 1 ? `the faster of ${names.join(', ')}` : names[0]}`,
    evaluate(view) {
      const peer = bestOf(view, names)
      if (view.ours === undefined || peer === undefined) return NOTHING
      const ratio = view.ours.value / peer.value
      return { actual: `${ratio.toFixed(2)}×`, met: ratio >= min }
    },
  }
}

/** CPU per message of ours against a peer's. */
export function atMostTimesCpu(max: number, name: string): Goal {
  return {
    text: `≤ ${Number(max.toFixed(2))}× the CPU of ${name}`,
    evaluate({ ours, others }) {
      const peer = others.get(name)
      if (ours === undefined || peer === undefined) return NOTHING
      const ratio = ours.cpuMicrosPerMessage / peer.cpuMicrosPerMessage
      return { actual: `${ratio.toFixed(2)}×`, met: ratio <= max }
    },
  }
}

/** Median over the rounds of the difference within a round: what both share, machine included, cancels out. */
export function atMostMoreCpu(maxMicros: number, name: string): Goal {
  return {
    text: `≤ ${maxMicros} µs of CPU a message more than ${name}`,
    evaluate({ ours, others }) {
      const reference = others.get(name)
      if (ours === undefined || reference === undefined) return NOTHING
      const differences = ours.runs
        .slice(0, reference.runs.length)
        .map((run, round) => cpuOfRun(run) - cpuOfRun(reference.runs[round] ?? run))
      const more = median(differences)
      return { actual: `${more.toFixed(2)} µs`, met: more <= maxMicros }
    },
  }
}

/** A figure among those that the case reports besides its rate. */
export function atMost(field: string, max: number, unit: string): Goal {
  return {
    text: `${field.replace(/Ms$|Mb$|Percent$/, '')} ≤ ${max} ${unit}`,
    evaluate({ ours }) {
      const value = ours?.extra[field]
      if (typeof value !== 'number') return NOTHING
      return { actual: `${value.toFixed(2)} ${unit}`, met: value <= max }
    },
  }
}

/** The same, against a peer's. */
export function atMostTimesOf(field: string, max: number, name: string): Goal {
  return {
    text: `${field.replace(/Ms$/, '')} ≤ ${max}× ${name}`,
    evaluate({ ours, others }) {
      const mine = ours?.extra[field]
      const theirs = others.get(name)?.extra[field]
      if (typeof mine !== 'number' || typeof theirs !== 'number') return NOTHING
      return { actual: `${(mine / theirs).toFixed(2)}×`, met: mine / theirs <= max }
    },
  }
}
